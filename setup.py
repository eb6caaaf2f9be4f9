"""Compiles the kernel for small LPs and what its ranks meet with; all else about the package is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "cobre.sddp._kernel",
            ["cobre/sddp/kernel.c"],
            depends=[
                f"cobre/sddp/kernel_{part}.h"
                for part in ("ahead", "basis", "kept", "pivots", "prove", "scan", "sweep", "vertices", "visit", "walk")
            ],
            # bits must not depend on whether a product and a sum become one instruction
            extra_compile_args=["-O3", "-ffp-contract=off"],
            optional=True,  # without it HiGHS solves everything: slower, and the log says so
        ),
        Extension(
            "cobre.transport._meet",
            ["cobre/transport/meet.c"],
            extra_compile_args=["-O3"],
            optional=True,  # without it the ranks of a host meet in Python
        ),
    ]
)
