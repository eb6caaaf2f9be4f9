/* Forward passes through all stages in one call, and those of all ranks brought together. */
#ifndef COBRE_KERNEL_AHEAD_H
#define COBRE_KERNEL_AHEAD_H

#include "kernel_sweep.h"

/* Forward passes of this rank: openings (legs x count), states ((legs + 1) x count x s) that stages are entered with, costs
 * (legs x count) of their own; rows: 0 to count - 1. Then those of all ranks, total passes: all_states (legs x total x s), of
 * the first leg's only the room; NULL: nobody wants them. */
typedef struct {
    leg_t *legs;
    int64_t at, until, last, step, count, total;
    const int64_t *openings, *rows;
    double *states, *costs, *all_states, *all_costs;
    spent_t *spent;
    board_t board;
    trade_t trade;
} ahead_t;

/* Up to and without the until'th leg. Returns DONE, PAUSE, LOST_ALL or -1, of the leg at which it ended. */
static int64_t go_ahead(ahead_t *a) {
    double entered = now();
    for (; a->at < a->until; a->at++) {
        leg_t *leg = a->legs + a->at;
        visit_t *v = leg->visit;
        int64_t every = a->count * v->f->s;
        double began = now();
        if (began - entered > TURN) return PAUSE;
        come_to(&a->board, a->at);
        v->points = v->count = a->count;
        v->states = a->states + a->at * every;
        v->openings = a->openings + a->at * a->count;
        v->point = v->units = a->rows;
        v->first = a->costs + a->at * a->count;
        v->second = a->states + (a->at + 1) * every;
        int64_t found = cobre_follow(v);
        if (found < 0) return found;
        count_visit(a->spent, v, began);
    }
    return DONE;
}

static int64_t passes_before(const ahead_t *a, int64_t rank) { return rank * a->total / a->trade.ranks; }

/* A rank has a run of the passes: the costs of all legs, and the states that all but the first are entered with. Returns
 * DONE; TORN where it has another number of them; -1 without room. */
static int64_t post_passes(ahead_t *a) {
    int64_t s = a->legs->visit->f->s, costs = a->last * a->count, most = (a->total + a->trade.ranks - 1) / a->trade.ranks;
    if (a->count != passes_before(a, a->trade.rank + 1) - passes_before(a, a->trade.rank)) return TORN;
    a->trade.slot = most * (a->last + (a->last - 1) * s);
    if (a->trade.slot > a->trade.room) return -1;
    memcpy(a->trade.send, a->costs, (size_t)costs * sizeof(double));
    memcpy(a->trade.send + costs, a->states + a->count * s, (size_t)((a->last - 1) * a->count * s) * sizeof(double));
    return DONE;
}

static void take_passes(ahead_t *a) {
    int64_t s = a->legs->visit->f->s;
    for (int64_t r = 0; r < a->trade.ranks; r++) {
        const double *at = a->trade.received + r * a->trade.slot;
        int64_t first = passes_before(a, r), count = passes_before(a, r + 1) - first;
        for (int64_t t = 0; t < a->last; t++, at += count)
            memcpy(a->all_costs + t * a->total + first, at, (size_t)count * sizeof(double));
        for (int64_t t = 1; t < a->last; t++, at += count * s)
            memcpy(a->all_states + (t * a->total + first) * s, at, (size_t)(count * s) * sizeof(double));
    }
}

/* Legs at, at + 1, ... up to until - 1, and, behind the last, all ranks' passes brought together. Returns what it ended for,
 * LOST_ALL or -1 of the leg at. */
int64_t cobre_forward(ahead_t *a) {
    int64_t ended_for = go_ahead(a);
    if (ended_for != DONE || a->at < a->last || a->all_states == NULL || a->step == TOLD) return ended_for;
    if (a->step == BEGINS) ended_for = post_passes(a);
    if (ended_for != DONE) return ended_for;
    if (a->step == BEGINS || a->trade.swaps) ended_for = exchange_parts(&a->trade);
    a->step = ANSWERED;
    if (ended_for != DONE) return ended_for;
    take_passes(a);
    a->step = TOLD;
    return DONE;
}

#endif
