/* Solves, each from the best vertex's basis or from one that its unit of work has come to. */
#ifndef COBRE_KERNEL_WALK_H
#define COBRE_KERNEL_WALK_H

#include "kernel_pivots.h"

/* What a unit of work has solved so far, its latest OWN bases: they answer its other pairs, and start them. */
typedef struct {
    int64_t count;
    int64_t *pair; /* OWN: whose each is */
    int64_t *basic; /* OWN x wide */
    double *z, *gain; /* OWN x wide, OWN x wide x k: basic variables, and what right-hand sides do to them */
} own_t;

static uintptr_t lay_out_own(own_t *own, const form_t *f, uintptr_t at) {
    int64_t d = (int64_t)sizeof(double);
    own->count = 0;
    own->pair = take(&at, OWN * d);
    own->basic = take(&at, OWN * f->wide * d);
    own->z = take(&at, OWN * f->wide * d);
    own->gain = take(&at, OWN * f->wide * f->k * d);
    return at;
}

static void remember(own_t *own, const walk_t *w, int64_t pair) {
    const form_t *f = w->f;
    int64_t wide = f->wide, at = own->count++ % OWN;
    own->pair[at] = pair;
    memcpy(own->basic + at * wide, w->basic, (size_t)wide * sizeof(int64_t));
    memcpy(own->z + at * wide, w->z, (size_t)wide * sizeof(double));
    for (int64_t p = 0; p < wide; p++)
        for (int64_t j = 0; j < f->k; j++)
            own->gain[(at * wide + p) * f->k + j] = w->inverse[p * wide + f->moving[j]];
}

/* Whether the at'th own basis is optimal where right-hand sides differ by so much from its own; then w->outgoing. */
static int own_proves(walk_t *w, const own_t *own, int64_t at, const int8_t *status, const double *differ) {
    const form_t *f = w->f;
    int64_t wide = f->wide, k = f->k;
    const int64_t *basic = own->basic + at * wide;
    for (int64_t j = 0; j <= f->s; j++) {
        int64_t v = f->watched[j];
        w->outgoing[j] = status[v] == BASIC ? 0.0 : at_rest(f, status[v], v);
    }
    for (int64_t p = 0; p < wide; p++) {
        const double *gain = own->gain + (at * wide + p) * k;
        double total = own->z[at * wide + p];
        for (int64_t j = 0; j < k; j++) total += gain[j] * differ[j];
        if (!(total >= f->lower[basic[p]] - FEASIBLE && total <= f->upper[basic[p]] + FEASIBLE)) return 0;
        if (basic[p] < f->n && w->watched_of[basic[p]] <= f->s) w->outgoing[w->watched_of[basic[p]]] = total;
    }
    return most_violated(w, w->outgoing, NULL) < 0;
}

/* What pairs come to, in their order. outcome: OPTIMAL, BOUND (most pivots were made; the basis is dual feasible), LOST
 * (nothing else is to be used), SAME (the basis of an earlier pair of its unit, same, is optimal). status and tight are
 * the bases they end with, duals (m) those of the template's rows. */
typedef struct {
    uint8_t *outcome;
    int64_t *pivots, *same;
    double *objective, *outgoing, *duals;
    int8_t *status;
    int64_t *tight;
    double *records; /* of OPTIMAL ones, or NULL */
    int64_t *totals; /* how many are OPTIMAL, BOUND, LOST, SAME; pivots */
} walked_t;

/* The own basis that gives pair r most, -1 for none; where one is optimal, the outcome is SAME. */
static int64_t ask_own(
    walk_t *w, const own_t *own, const walked_t *out, int64_t r, const int64_t *rows, const double *sides, double known
) {
    const form_t *f = w->f;
    int64_t m = f->m, n = f->n, k = f->k, best = -1, of = own->count < OWN ? own->count : OWN;
    double highest = known, *differ = w->ratio; /* as scratch */
    for (int64_t at = 0; at < of; at++) {
        int64_t o = own->pair[at];
        double value = out->objective[o];
        for (int64_t j = 0; j < k; j++) {
            differ[j] = sides[rows[r] * k + j] - sides[rows[o] * k + j];
            value += out->duals[o * m + f->moving[j]] * differ[j];
        }
        /* one that gives less is not optimal */
        if (!(value >= highest - FEASIBLE * fmax(1.0, fabs(highest)))) continue;
        if (value > highest || best < 0) best = at;
        if (value > highest) highest = value;
        if (!own_proves(w, own, at, out->status + o * (n + m), differ)) continue;
        out->outcome[r] = SAME;
        out->same[r] = o;
        out->objective[r] = value;
        return at;
    }
    return best;
}

/* What cobre_walk is asked, with what it takes memory for. */
static void walk_pairs(
    walk_t *w, own_t *own, const int8_t *start_status, const int64_t *start_tight, int64_t count, const int64_t *from,
    const double *known, const int64_t *units, const int64_t *rows, const double *sides, int64_t most,
    const walked_t *out
) {
    const form_t *f = w->f;
    int64_t m = f->m, n = f->n, s = f->s;
    int64_t held = -1; /* the pair whose basis w holds */
    own->count = 0;
    for (int64_t r = 0; r < count; r++) {
        const double *side = sides + rows[r] * f->k;
        if (r > 0 && units[rows[r]] != units[rows[r - 1]]) own->count = 0;
        out->pivots[r] = 0;
        out->same[r] = -1;
        out->outcome[r] = LOST;
        int64_t at = ask_own(w, own, out, r, rows, sides, known[rows[r]]), o = at < 0 ? -1 : own->pair[at];
        if (out->outcome[r] == SAME) {
            memcpy(out->outgoing + r * (s + 1), w->outgoing, (size_t)(s + 1) * sizeof(double));
            continue;
        }
        const int8_t *status = o < 0 ? start_status + from[rows[r]] * (n + m) : out->status + o * (n + m);
        const int64_t *tight = o < 0 ? start_tight + from[rows[r]] * (s + 1) : out->tight + o * (s + 1);
        if (o < 0 && from[rows[r]] < 0) continue;
        if ((o < 0 || o != held) && !take_up(w, status, tight)) {
            held = -1;
            continue;
        }
        held = -1;
        compute(w, side);
        int came_to = walk(w, most, out->pivots + r);
        if (came_to == LOST) continue;
        came_to = settle(w, came_to, side, out->status + r * (n + m), out->tight + r * (s + 1));
        out->outcome[r] = (uint8_t)came_to;
        if (came_to == LOST) continue;
        out->objective[r] = objective_of(w);
        memcpy(out->outgoing + r * (s + 1), w->outgoing, (size_t)(s + 1) * sizeof(double));
        memcpy(out->duals + r * m, w->y, (size_t)m * sizeof(double));
        if (came_to != OPTIMAL) continue;
        if (out->records != NULL) write_record(w, record_at(f, out->records + r * record_size(f)));
        held = r;
        if (r + 1 < count && units[rows[r + 1]] == units[rows[r]]) remember(own, w, r);
    }
    memset(out->totals, 0, 5 * sizeof(int64_t));
    for (int64_t r = 0; r < count; r++) {
        out->totals[out->outcome[r]]++;
        out->totals[4] += out->pivots[r];
    }
}

/* Solve those of the pairs that are left: each from the from'th of the starts, which is known to give it so much (scaled),
 * or from a basis that a pair before it of the same unit has come to. from, known, units and sides: of all pairs. */
int64_t cobre_walk(
    const form_t *f, const pool_t *pool, const int8_t *start_status, const int64_t *start_tight, int64_t count,
    const int64_t *from, const double *known, const int64_t *units, const int64_t *rows, const double *sides,
    int64_t most, const walked_t *out
) {
    walk_t w;
    own_t own;
    char *memory = prepare(&w, f, pool), *others = malloc((size_t)lay_out_own(&own, f, 0));
    int there = memory != NULL && others != NULL;
    if (there) {
        lay_out_own(&own, f, (uintptr_t)others);
        walk_pairs(&w, &own, start_status, start_tight, count, from, known, units, rows, sides, most, out);
    }
    free(memory);
    free(others);
    return there ? 0 : -1;
}

#endif
