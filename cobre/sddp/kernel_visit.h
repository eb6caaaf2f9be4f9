/* One stage visited: its pairs of openings and states proved and solved, and what they came to kept and averaged. */
#ifndef COBRE_KERNEL_VISIT_H
#define COBRE_KERNEL_VISIT_H

#include "kernel_vertices.h"

enum { LOST_ALL = -2 };

/* Hands a visit's pairs out part by part, whole units of work in rising or in falling order: whether there is one more, the
 * pairs from from to to - 1. */
typedef int (*next_t)(void *deal, int64_t *from, int64_t *to);

/* A stage's pairs of an opening and a point, a row of states, of units of work; and where a solve begins while nothing is
 * kept. first, second: told and packed of cobre_answer, costs and next states of cobre_follow. next: NULL: all are its own. */
typedef struct {
    const form_t *f;
    const pool_t *pool;
    kept_t *kept;
    const int8_t *start_status;
    const int64_t *start_tight;
    int64_t points, count, most;
    const double *states;
    const int64_t *openings, *point, *units;
    double *first, *second;
    int64_t totals[4]; /* how many were proved, solved, the SAME; pivots */
    next_t next;
    void *deal;
} visit_t;

/* Pairs from from to to - 1, of which so many were left to be solved. */
typedef struct {
    int64_t from, to, lefts;
} part_t;

/* A visit's pairs proved and walked. What was walked of a part, and left, begins where the part does. */
typedef struct {
    char *scratch, *memory;
    walk_t walk;
    own_t own;
    given_t given;
    proof_t proofs;
    walked_t walked;
    int64_t *left, parts, counts[5];
    part_t *part;
} batch_t;

static uintptr_t lay_out_batch(const visit_t *v, int records, batch_t *b, uintptr_t at) {
    const form_t *f = v->f;
    int64_t d = (int64_t)sizeof(double), count = v->count;
    b->proofs.sides = take(&at, count * f->k * d);
    b->proofs.vertex = take(&at, count * d);
    b->proofs.value = take(&at, count * d);
    b->proofs.known = take(&at, count * d);
    b->proofs.proved = take(&at, count);
    b->proofs.outgoing = take(&at, count * (f->s + 1) * d);
    b->left = take(&at, count * d);
    b->part = take(&at, (count + 1) * (int64_t)sizeof(part_t));
    b->walked.outcome = take(&at, count);
    b->walked.pivots = take(&at, count * d);
    b->walked.same = take(&at, count * d);
    b->walked.objective = take(&at, count * d);
    b->walked.outgoing = take(&at, count * (f->s + 1) * d);
    b->walked.duals = take(&at, count * f->m * d);
    b->walked.status = take(&at, count * (f->n + f->m));
    b->walked.tight = take(&at, count * (f->s + 1) * d);
    b->walked.records = records ? take(&at, count * record_size(f) * d) : NULL;
    return lay_out_own(&b->own, f, at);
}

static void let_go(batch_t *b) {
    free(b->scratch);
    free(b->memory);
    free(b->given.line);
}

/* Returns 0 without memory; let_go in any case. */
static int begin_batch(const visit_t *v, int records, batch_t *b) {
    b->parts = 0;
    b->given.line = NULL;
    b->memory = NULL;
    b->scratch = prepare(&b->walk, v->f, v->pool);
    if (b->scratch == NULL || !take_given(&b->given, v->kept->size)) return 0;
    b->memory = malloc((size_t)lay_out_batch(v, records, b, 0) + 64);
    if (b->memory == NULL) return 0;
    lay_out_batch(v, records, b, ((uintptr_t)b->memory + 63) / 64 * 64);
    return 1;
}

/* What was walked of a part. */
static walked_t walked_of(const visit_t *v, batch_t *b, int64_t from) {
    const form_t *f = v->f;
    walked_t all = b->walked, part = {
        all.outcome + from, all.pivots + from, all.same + from, all.objective + from, all.outgoing + from * (f->s + 1),
        all.duals + from * f->m, all.status + from * (f->n + f->m), all.tight + from * (f->s + 1),
        all.records == NULL ? NULL : all.records + from * record_size(f), b->counts,
    };
    return part;
}

/* Returns how many were lost. */
static int64_t do_part(visit_t *v, batch_t *b, int64_t from, int64_t to) {
    kept_t *kept = v->kept;
    int from_kept = kept->size > 0;
    part_t *part = b->part + b->parts++;
    int64_t *left = b->left + from;
    walked_t walked = walked_of(v, b, from);
    v->totals[0] += prove_pairs(&b->walk, &b->given, kept, v->states, from, to, v->openings, v->point, &b->proofs);
    part->from = from;
    part->to = to;
    part->lefts = 0;
    for (int64_t r = from; r < to; r++) {
        if (b->proofs.proved[r]) continue;
        left[part->lefts++] = r;
        if (!from_kept) b->proofs.vertex[r] = 0;
    }
    walk_pairs(
        &b->walk, &b->own, from_kept ? kept->status : v->start_status, from_kept ? kept->tight : v->start_tight,
        part->lefts, b->proofs.vertex, b->proofs.known, v->units, left, b->proofs.sides, v->most, &walked
    );
    v->totals[1] += b->counts[OPTIMAL];
    v->totals[2] += b->counts[SAME];
    v->totals[3] += b->counts[4];
    return b->counts[BOUND] + b->counts[LOST];
}

/* Whether solves have anything to begin with. */
static int has_start(const visit_t *v) { return v->kept->size > 0 || v->start_status != NULL; }

/* Prove what kept vertices prove and solve the rest. records: whether those of the solved are wanted. Returns how many were
 * lost, -1 without memory; let_go in any case. */
static int64_t prove_and_walk(visit_t *v, int records, batch_t *b) {
    int64_t lost = 0, from, to;
    memset(v->totals, 0, sizeof v->totals);
    memset(b, 0, sizeof *b);
    if (!has_start(v)) return 1;
    if (!begin_batch(v, records, b)) return -1;
    if (v->next == NULL) return do_part(v, b, 0, v->count);
    while (v->next(v->deal, &from, &to)) lost += do_part(v, b, from, to);
    return lost;
}

/* What the solved pairs of all parts are told, in the order of the pairs. Returns as cobre_answer. */
static int64_t name_parts(visit_t *v, batch_t *b) {
    int falls = b->parts > 1 && b->part[1].from < b->part[0].from;
    int64_t fresh = 0, width = packed_width(v->f, v->kept);
    for (int64_t i = 0; i < b->parts; i++) {
        const part_t *part = b->part + (falls ? b->parts - 1 - i : i);
        walked_t walked = walked_of(v, b, part->from);
        for (int64_t r = part->from; r < part->to; r++) v->first[r] = (double)b->proofs.vertex[r];
        int64_t found = cobre_name(
            v->f, v->kept, part->lefts, b->left + part->from, v->openings, v->point, v->states, &walked, v->first, 1,
            v->second + fresh * width
        );
        if (found < 0) return found;
        fresh += found;
    }
    return fresh;
}

/* cobre_prove, cobre_walk and cobre_name in one. Returns how many rows of packed there are, -1 without memory, LOST_ALL
 * where a pair was lost: then nothing is told. */
int64_t cobre_answer(visit_t *v) {
    batch_t b;
    int64_t found = prove_and_walk(v, brings_records(v->f, v->kept), &b);
    if (found == 0)
        found = name_parts(v, &b);
    else if (found > 0)
        found = LOST_ALL;
    let_go(&b);
    return found;
}

/* cobre_prove and cobre_walk for the stage's own costs (count) and the states that the next one is entered with (count x s),
 * neither scaled. Returns 0, or as above. */
int64_t cobre_follow(visit_t *v) {
    const form_t *f = v->f;
    batch_t b;
    int64_t s = f->s, found = prove_and_walk(v, 0, &b);
    if (found == 0) {
        for (int64_t i = 0; i < b.part->lefts; i++) {
            int64_t r = b.left[i];
            memcpy(b.proofs.outgoing + r * (s + 1), b.walked.outgoing + i * (s + 1), (size_t)(s + 1) * sizeof(double));
            b.proofs.value[r] =
                b.walked.objective[i] / f->cost_scale + incoming_cost_of(f, v->states + v->point[r] * s);
        }
        for (int64_t r = 0; r < v->count; r++) {
            const double *outgoing = b.proofs.outgoing + r * (s + 1);
            v->first[r] = b.proofs.value[r] - f->discount * (outgoing[s] * f->watched_scale[s]);
            for (int64_t j = 0; j < s; j++) {
                double x = outgoing[j] * f->watched_scale[j];
                x = x < f->least[j] ? f->least[j] : x;
                v->second[r * s + j] = x > f->most[j] ? f->most[j] : x;
            }
        }
    } else if (found > 0) {
        found = LOST_ALL;
    }
    let_go(&b);
    return found;
}

/* What a visit's pairs, all ranks', were told, with rows of packed, or rows wherever they are, for the u new ones; mean (points): where their values'
 * expectations go. into: the pool that gets the cuts, or NULL. */
typedef struct {
    const visit_t *v;
    const double *told;
    int64_t stride, u;
    const double *packed;
    const double *const *rows;
    const int64_t *turn;
    int64_t iteration;
    double *mean;
    pool_t *into;
} conclusion_t;

/* cobre_keep, cobre_outcomes and cobre_average in one, and the cuts that come of it added. Returns how many vertices there
 * are, -1 without memory. */
int64_t cobre_conclude(const conclusion_t *c) {
    const visit_t *v = c->v;
    const form_t *f = v->f;
    pool_t *into = c->into;
    int64_t s = f->s, points = v->points, pairs = points * f->openings, size;
    int64_t *places = malloc((size_t)(2 * pairs + points * s + 1) * sizeof(int64_t));
    double *values = (double *)(places + pairs), *slopes = values + pairs;
    if (places == NULL) return -1;
    size = keep_all(f, v->kept, points, c->told, c->stride, c->u, c->packed, c->rows, c->turn, c->iteration, places);
    if (size < 0) {
        free(places);
        return -1;
    }
    cobre_outcomes(f, v->pool, v->kept, points, v->states, places, c->iteration, values);
    cobre_average(f, v->kept, points, places, values, f->probability, 0, c->mean, slopes);
    for (int64_t q = 0; into != NULL && q < points; q++) {
        int64_t id = into->size++;
        double total = 0.0;
        for (int64_t j = 0; j < s; j++) {
            double slope = slopes[q * s + j], term = slope * v->states[q * s + j];
            total = j ? total + term : term;
            into->slopes[id * s + j] = slope;
            into->by_state[j * into->room + id] = slope;
        }
        into->intercepts[id] = into->shown[id] = c->mean[q] - total;
        into->iterations[id] = into->last_active[id] = c->iteration;
        into->times_active[id] = 0;
        into->active[id] = 1;
    }
    free(places);
    return size;
}

#endif
