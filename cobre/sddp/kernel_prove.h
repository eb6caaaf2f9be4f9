/* Which kept vertex is best for a pair of an opening and a state, and whether its basis is optimal there. */
#ifndef COBRE_KERNEL_PROVE_H
#define COBRE_KERNEL_PROVE_H

#include "kernel_kept.h"

static double incoming_cost_of(const form_t *f, const double *state) {
    double total = 0.0;
    for (int64_t j = 0; j < f->s; j++)
        if (f->incoming_cost[j] != 0.0) total += f->incoming_cost[j] * state[j];
    return total;
}

static void sides_of(const form_t *f, int64_t opening, const double *state, double *sides) {
    for (int64_t j = 0; j < f->k; j++) {
        double side = f->openings_sides[opening * f->k + j];
        for (int64_t e = f->by_side[j]; e < f->by_side[j + 1]; e++)
            side -= f->by_side_value[e] * state[f->by_side_state[e]];
        sides[j] = side;
    }
}

/* tilt (points x size): what the kept slopes make of each state. */
WIDE static void tilt_all(const form_t *f, const kept_t *kept, int64_t points, const double *states, double *tilt) {
    int64_t size = kept->size;
    memset(tilt, 0, (size_t)(points * size) * sizeof(double));
    for (int64_t q = 0; q < points; q++)
        for (int64_t j = 0; j < f->s; j++) {
            double x = states[q * f->s + j];
            const double *slopes = kept->slopes + j * kept->room;
            double *line = tilt + q * size;
            for (int64_t u = 0; u < size; u++) line[u] += x * slopes[u];
        }
}

WIDE static void add_up(const double *level, const double *line, int64_t size, double *sums) {
    for (int64_t i = 0; i < size; i++) sums[i] = level[i] + line[i];
}

static int64_t best_of(const double *sums, int64_t size, double *value) {
    int64_t best = -1;
    *value = -INFINITY;
    for (int64_t i = 0; i < size; i++)
        if (sums[i] > *value) {
            *value = sums[i];
            best = i;
        }
    return best;
}

typedef struct {
    double *sides; /* k scaled right-hand sides */
    int64_t *vertex;
    double *value, *known; /* known: scaled, without what the incoming state costs */
    uint8_t *proved;
    double *outgoing; /* s + 1, scaled */
} proof_t;

/* The best kept vertex of a pair, and whether its basis is optimal. Where a dual vertex has several bases, one of them may
 * be optimal when the others are not. */
static int prove_one(walk_t *w, kept_t *kept, const double *sums, const proof_t *out) {
    double best, near;
    int64_t u = best_of(sums, kept->size, &best), tries = 0, bad, least;
    *out->vertex = u;
    *out->value = best;
    if (u < 0) return 0;
    if (kept_proves(w, kept, u, out->sides, out->outgoing, &least)) return 1;
    near = best - ALIKE * fmax(1.0, fabs(best));
    for (int64_t i = kept->size - 1; i >= 0 && tries < TRIES; i--) {
        if (i == u || !(sums[i] >= near)) continue;
        tries++;
        int proved = kept_proves(w, kept, i, out->sides, out->outgoing, &bad);
        if (!proved && bad >= least) continue;
        *out->vertex = i; /* at the least, it is nearer to the optimal one */
        least = bad;
        if (proved) return 1;
    }
    return 0;
}

/* The best kept vertex of each of r pairs of an opening and a point, a row of states, and its value. -1 without memory. */
int64_t cobre_best(
    const form_t *f, const kept_t *kept, int64_t points, const double *states, int64_t count, const int64_t *openings,
    const int64_t *point, int64_t *vertex, double *value
) {
    int64_t size = kept->size;
    double *tilt = malloc((size_t)((points + 1) * size + 1) * sizeof(double));
    if (tilt == NULL) return -1;
    tilt_all(f, kept, points, states, tilt);
    for (int64_t r = 0; r < count; r++) {
        add_up(kept->levels + openings[r] * kept->room, tilt + point[r] * size, size, tilt + points * size);
        vertex[r] = best_of(tilt + points * size, size, value + r);
    }
    free(tilt);
    return 0;
}

/* Of each of r pairs of an opening and a point, a row of states: its right-hand sides, its best kept vertex, the value of
 * that, and whether its basis is optimal there; then outgoing. Returns how many are, -1 without memory. */
int64_t cobre_prove(
    const form_t *f, const pool_t *pool, kept_t *kept, int64_t points, const double *states, int64_t count,
    const int64_t *openings, const int64_t *point, const proof_t *out
) {
    int64_t size = kept->size, proved = 0;
    walk_t w;
    char *memory = prepare(&w, f, pool);
    double *tilt = malloc((size_t)((points + 1) * size + 1) * sizeof(double)), *sums;
    if (memory == NULL || tilt == NULL) {
        free(memory);
        free(tilt);
        return -1;
    }
    sums = tilt + points * size;
    tilt_all(f, kept, points, states, tilt);
    for (int64_t r = 0; r < count; r++) {
        const double *state = states + point[r] * f->s;
        proof_t one = {
            out->sides + r * f->k, out->vertex + r, out->value + r, out->known + r, out->proved + r,
            out->outgoing + r * (f->s + 1),
        };
        sides_of(f, openings[r], state, one.sides);
        add_up(kept->levels + openings[r] * kept->room, tilt + point[r] * size, size, sums);
        *one.proved = (uint8_t)prove_one(&w, kept, sums, &one);
        *one.known = (*one.value - incoming_cost_of(f, state)) * f->cost_scale;
        proved += *one.proved;
    }
    free(tilt);
    free(memory);
    return proved;
}

#endif
