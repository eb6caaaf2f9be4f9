/* Small LPs that differ in their right-hand sides only: a stage's pairs of openings and states, answered from kept vertices
 * where their bases prove optimal, by a dual simplex method where not; what comes of it is kept, and averaged into cuts. See
 * cobre/sddp/kernel.py and cobre/sddp/kernel_vertices.py for what the arrays mean.
 *
 * Sums run one number after the other, in the order in which numpy's element by element operations have them.
 */
#include "kernel_ahead.h"

/* What cobre/sddp/kernel.py takes structures to be: a kernel that was compiled from other sources is not to be called. */
const int64_t cobre_sizes[12] = {
    sizeof(form_t), sizeof(pool_t), sizeof(kept_t), sizeof(visit_t), sizeof(conclusion_t), sizeof(proof_t),
    sizeof(walked_t), sizeof(spent_t), sizeof(leg_t), sizeof(sweep_t), sizeof(ahead_t), BROUGHT,
};
