"""cobre.testing"""
