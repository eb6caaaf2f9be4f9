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

/* What the kept slopes make of a state. */
WIDE static void tilt(const form_t *f, const kept_t *kept, const double *state, double *line) {
    int64_t size = kept->size;
    memset(line, 0, (size_t)size * sizeof(double));
    for (int64_t j = 0; j < f->s; j++) {
        double x = state[j];
        const double *slopes = kept->slopes + j * kept->room;
        for (int64_t u = 0; u < size; u++) line[u] += x * slopes[u];
    }
}

typedef struct {
    double *sides; /* k scaled right-hand sides */
    int64_t *vertex;
    double *value, *known; /* known: scaled, without what the incoming state costs */
    uint8_t *proved;
    double *outgoing; /* s + 1, scaled */
} proof_t;

/* What kept vertices give at a pair. */
typedef struct {
    int64_t point; /* whose line it is, -1 for none */
    double *line; /* size: what the slopes make of it */
    double *sums; /* size */
    double *tops; /* the largest of each LANES of them */
} given_t;

static int take_given(given_t *given, int64_t size) {
    given->line = malloc((size_t)(2 * size + size / LANES + 1) * sizeof(double));
    if (given->line == NULL) return 0;
    given->sums = given->line + size;
    given->tops = given->sums + size;
    given->point = -1;
    return 1;
}

/* The best kept vertex, -1 for none. Points are best asked one after the other. */
static int64_t best_at(
    const form_t *f, const kept_t *kept, int64_t opening, int64_t point, const double *states, given_t *given,
    double *value
) {
    if (given->point != point) tilt(f, kept, states + point * f->s, given->line);
    given->point = point;
    return add_and_find(
        kept->levels + opening * kept->room, given->line, kept->size, given->sums, given->tops, value
    );
}

/* The next place before i whose sum is near the best, or -1. */
static int64_t near_before(const given_t *given, int64_t i, double near) {
    while (--i >= 0) {
        if (given->sums[i] >= near) return i;
        if (i % LANES == LANES - 1 && !(given->tops[i / LANES] >= near)) i -= LANES - 1;
    }
    return -1;
}

/* The best kept vertex u of a pair, which gives best, and whether its basis is optimal. Where a dual vertex has several
 * bases, one of them may be optimal when the others are not. */
static int prove_one(walk_t *w, kept_t *kept, const given_t *given, int64_t u, double best, const proof_t *out) {
    double near;
    int64_t tries = 0, bad, least;
    *out->vertex = u;
    *out->value = best;
    if (u < 0) return 0;
    if (kept_proves(w, kept, u, out->sides, out->outgoing, &least)) return 1;
    near = best - ALIKE * fmax(1.0, fabs(best));
    for (int64_t i = near_before(given, kept->size, near); i >= 0; i = near_before(given, i, near)) {
        if (i == u) continue;
        if (++tries > TRIES) break;
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
    const form_t *f, const kept_t *kept, const double *states, int64_t count, const int64_t *openings,
    const int64_t *point, int64_t *vertex, double *value
) {
    given_t given;
    if (!take_given(&given, kept->size)) return -1;
    for (int64_t r = 0; r < count; r++)
        vertex[r] = best_at(f, kept, openings[r], point[r], states, &given, value + r);
    free(given.line);
    return 0;
}

/* Those from from to to - 1 of what cobre_prove is asked. Returns how many are proved. */
static int64_t prove_pairs(
    walk_t *w, given_t *given, kept_t *kept, const double *states, int64_t from, int64_t to, const int64_t *openings,
    const int64_t *point, const proof_t *out
) {
    const form_t *f = w->f;
    int64_t proved = 0;
    for (int64_t r = from; r < to; r++) {
        const double *state = states + point[r] * f->s;
        proof_t one = {
            out->sides + r * f->k, out->vertex + r, out->value + r, out->known + r, out->proved + r,
            out->outgoing + r * (f->s + 1),
        };
        sides_of(f, openings[r], state, one.sides);
        double best;
        int64_t u = best_at(f, kept, openings[r], point[r], states, given, &best);
        *one.proved = (uint8_t)prove_one(w, kept, given, u, best, &one);
        *one.known = (*one.value - incoming_cost_of(f, state)) * f->cost_scale;
        proved += *one.proved;
    }
    return proved;
}

/* Of each of r pairs of an opening and a point, a row of states: its right-hand sides, its best kept vertex, the value of
 * that, and whether its basis is optimal there; then outgoing. Returns how many are, -1 without memory. */
int64_t cobre_prove(
    const form_t *f, const pool_t *pool, kept_t *kept, const double *states, int64_t count, const int64_t *openings,
    const int64_t *point, const proof_t *out
) {
    walk_t w;
    given_t given;
    char *memory = prepare(&w, f, pool);
    if (!take_given(&given, kept->size) || memory == NULL) {
        free(memory);
        free(given.line);
        return -1;
    }
    int64_t proved = prove_pairs(&w, &given, kept, states, 0, count, openings, point, out);
    free(given.line);
    free(memory);
    return proved;
}

#endif
