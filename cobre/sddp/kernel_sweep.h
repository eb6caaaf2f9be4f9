/* Many stages in one call: forward passes through all of them, and a backward pass from the last to the first.
 *
 * A call ends before its work is done where somebody else has to do something: it says what, and goes on from there when it
 * is called again. */
#ifndef COBRE_KERNEL_SWEEP_H
#define COBRE_KERNEL_SWEEP_H

#include <time.h>

#include "kernel_visit.h"

/* What a sweep ended for: nothing is left; exchange send with the other ranks; make room for fresh vertices and points cuts;
 * wait for ranks that swap found late; let others have a turn. LOST_ALL: answer the pairs of this leg otherwise. */
enum { DONE, SWAP, ROOM, WAIT, PAUSE };

#define TURN 0.05 /* seconds after which a sweep pauses before its next stage: an interrupt is heard in Python only */

/* Exchanges count numbers with the other ranks: cobre_swap of cobre/transport/meet.c. */
typedef int64_t (*swap_t)(void *state, const double *send, int64_t count, const double **received);
enum { HERE, LATE };

/* This rank's exchanges with the others. */
typedef struct {
    int64_t rank, ranks;
    double *send;
    int64_t room;           /* numbers in send */
    const double *received; /* ranks x slot */
    int64_t slot;           /* numbers of each rank that are exchanged */
    swap_t swap;            /* NULL: somebody else does it */
    void *state;            /* for it */
    int64_t swaps;          /* whether an exchange is under way */
} trade_t;

/* DONE, or what it ended for. */
static int64_t exchange_parts(trade_t *x) {
    int64_t code = x->swap == NULL ? -1 : x->swap(x->state, x->send, x->slot, &x->received);
    x->swaps = code == LATE;
    return code == HERE ? DONE : code == LATE ? WAIT : SWAP;
}

/* How far a leg is. */
enum { BEGINS, ANSWERED, SWAPPED, SWAPPED_MORE, TOLD };

/* What visits took: how many pairs were proved, solved, the SAME; pivots; seconds. Whoever reads it sets it to zero. */
typedef struct {
    int64_t totals[4];
    double seconds;
} spent_t;

/* Words that somebody reads while a sweep runs, or NULL: the stage that it has come to, and how often it came to one. */
typedef struct {
    volatile int64_t *stage, *beats;
} board_t;

static void come_to(const board_t *board, int64_t leg) {
    if (board->stage != NULL) *board->stage = leg + 1;
    if (board->beats != NULL) ++*board->beats;
}

/* One stage of a sweep. */
typedef struct {
    visit_t *visit;
    pool_t *into;        /* gets the cuts, or NULL */
    const double *trial; /* scenarios x s: states that the stage is entered with; NULL: the sweep knows them */
    int64_t scenarios;
    int64_t units;        /* of work that its openings are cut into at least, if there are as many */
    int64_t per_unit;     /* openings in one, where that is not 0 */
    const int64_t *order; /* of solving its openings */
    const int64_t *turn;  /* where each opening stands in it */
    int64_t cap;          /* fresh vertices of a rank that travel with what its pairs are told */
} leg_t;

/* legs: all stages. trials: scenarios x every numbers from one to the next, for legs that have no trial of their own.
 * kept_sizes, pool_sizes: of all stages' vertices and cuts, when it has ended. at, step: where it stands; until: the leg behind the last. */
typedef struct {
    leg_t *legs;
    int64_t count;
    const double *trials;
    int64_t scenarios, every;
    int64_t *kept_sizes, *pool_sizes;
    int64_t at, until, step, iteration;
    int64_t points, pairs, fresh; /* distinct trial points of this leg; this rank's pairs, then all; new vertices */
    int64_t most_fresh;           /* of a rank */
    double *states;               /* of the points */
    int64_t *rows;                /* the scenario that each comes from */
    int64_t *bucket, buckets;     /* scratch, a power of two, at least twice the scenarios */
    int64_t *fresh_of;            /* of each rank */
    int64_t *openings, *point, *units;
    double *told, *packed;         /* this rank's */
    double *all_told, *all_packed; /* everybody's */
    double *mean;  /* of the values at the points, of the latest leg */
    int64_t added; /* cuts */
    spent_t *spent;
    board_t board;
    trade_t trade;
} sweep_t;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

/* The rows of trial that repeat none before them: equal points give equal cuts. */
static void find_distinct(sweep_t *w, const leg_t *leg, int64_t s) {
    const double *trial = leg->trial != NULL ? leg->trial : w->trials + w->at * w->every;
    int64_t scenarios = leg->trial != NULL ? leg->scenarios : w->scenarios;
    size_t bytes = (size_t)s * sizeof(double);
    uint64_t mask = (uint64_t)w->buckets - 1;
    for (int64_t i = 0; i < w->buckets; i++) w->bucket[i] = -1;
    w->points = 0;
    for (int64_t row = 0; row < scenarios; row++) {
        const double *state = trial + row * s;
        uint64_t hash = 0;
        for (int64_t j = 0; j < s; j++) hash = mix(hash, state + j, sizeof(double));
        uint64_t at = hash & mask;
        while (w->bucket[at] >= 0 && memcmp(w->states + w->bucket[at] * s, state, bytes)) at = (at + 1) & mask;
        if (w->bucket[at] >= 0) continue;
        memcpy(w->states + w->points * s, state, bytes);
        w->rows[w->points] = row;
        w->bucket[at] = w->points++;
    }
}

static int64_t blocks_of(const sweep_t *w, const leg_t *leg, int64_t openings) {
    if (leg->per_unit > 0) return (openings + leg->per_unit - 1) / leg->per_unit;
    int64_t blocks = (leg->units + w->points - 1) / w->points;
    if (blocks > openings / 2) blocks = openings / 2;
    return blocks > 1 ? blocks : 1;
}

static int64_t pairs_before(int64_t unit, int64_t blocks, int64_t openings) {
    return unit / blocks * openings + unit % blocks * openings / blocks;
}

/* Pairs of a rank, which has a run of the units of work: those of a point and a block of the openings in their order. */
static int64_t pairs_of(const sweep_t *w, int64_t rank, int64_t blocks, int64_t openings) {
    int64_t units = w->points * blocks;
    return pairs_before((rank + 1) * units / w->trade.ranks, blocks, openings) -
           pairs_before(rank * units / w->trade.ranks, blocks, openings);
}

static void deal(sweep_t *w, const leg_t *leg, int64_t blocks, int64_t openings) {
    int64_t units = w->points * blocks, end = (w->trade.rank + 1) * units / w->trade.ranks;
    w->pairs = 0;
    for (int64_t unit = w->trade.rank * units / w->trade.ranks; unit < end; unit++) {
        int64_t block = unit % blocks;
        for (int64_t i = block * openings / blocks; i < (block + 1) * openings / blocks; i++, w->pairs++) {
            w->openings[w->pairs] = leg->order[i];
            w->point[w->pairs] = unit / blocks;
            w->units[w->pairs] = unit;
        }
    }
}

static void count_visit(spent_t *spent, const visit_t *v, double began) {
    for (int64_t i = 0; i < 4; i++) spent->totals[i] += v->totals[i];
    spent->seconds += now() - began;
}

static int64_t answer_leg(sweep_t *w, leg_t *leg) {
    visit_t *v = leg->visit;
    int64_t openings = v->f->openings, found;
    double began = now();
    find_distinct(w, leg, v->f->s);
    deal(w, leg, blocks_of(w, leg, openings), openings);
    v->points = w->points;
    v->count = w->pairs;
    v->states = w->states;
    v->openings = w->openings;
    v->point = w->point;
    v->units = w->units;
    v->first = w->told;
    v->second = w->packed;
    found = cobre_answer(v);
    if (found >= 0) count_visit(w->spent, v, began);
    return found;
}

/* The next of 1, 2, 3, 4, 6, 8, 12, 16, ...: ranks that exchange few different sizes need not agree on each anew. */
static int64_t rounded(int64_t count) {
    int64_t power = 1;
    while (power < count) power *= 2;
    return power >= 4 && count <= 3 * power / 4 ? 3 * power / 4 : power;
}

/* What this rank's pairs are told, and as many of its new vertices as there were of late. */
static void post(sweep_t *w, const leg_t *leg, int64_t most, int64_t width) {
    int64_t along = w->fresh < leg->cap ? w->fresh : leg->cap;
    w->trade.slot = rounded(1 + most + leg->cap * width);
    if (w->trade.slot > w->trade.room) return;
    w->trade.send[0] = (double)w->fresh;
    memcpy(w->trade.send + 1, w->told, (size_t)w->pairs * sizeof(double));
    memcpy(w->trade.send + 1 + most, w->packed, (size_t)(along * width) * sizeof(double));
}

/* Everybody's, unit after unit. Returns whether all new vertices came along. */
static int receive(sweep_t *w, leg_t *leg, int64_t blocks, int64_t most, int64_t width) {
    int64_t openings = leg->visit->f->openings, all = 0;
    w->fresh = w->most_fresh = 0;
    for (int64_t r = 0; r < w->trade.ranks; r++) {
        const double *at = w->trade.received + r * w->trade.slot;
        int64_t fresh = (int64_t)at[0], pairs = pairs_of(w, r, blocks, openings);
        memcpy(w->all_told + all, at + 1, (size_t)pairs * sizeof(double));
        all += pairs;
        w->fresh_of[r] = fresh;
        if (fresh <= leg->cap)
            memcpy(w->all_packed + w->fresh * width, at + 1 + most, (size_t)(fresh * width) * sizeof(double));
        w->fresh += fresh;
        if (fresh > w->most_fresh) w->most_fresh = fresh;
    }
    w->pairs = all;
    return w->most_fresh <= leg->cap;
}

static void receive_more(sweep_t *w, int64_t width) {
    int64_t fresh = 0;
    for (int64_t r = 0; r < w->trade.ranks; r++) {
        memcpy(
            w->all_packed + fresh * width, w->trade.received + r * w->trade.slot, (size_t)(w->fresh_of[r] * width) * sizeof(double)
        );
        fresh += w->fresh_of[r];
    }
}

static void pass_on(leg_t *leg, int64_t most_fresh) {
    leg->cap = most_fresh > leg->cap ? most_fresh : leg->cap > 2 ? leg->cap - 1 : 2;
}

/* From this rank's answers to everybody's. Returns whether there is something to exchange first. */
static int tell_leg(sweep_t *w, leg_t *leg) {
    const form_t *f = leg->visit->f;
    int64_t width = packed_width(f, leg->visit->kept), blocks = blocks_of(w, leg, f->openings), most = 0;
    for (int64_t r = 0; r < w->trade.ranks; r++) {
        int64_t pairs = pairs_of(w, r, blocks, f->openings);
        most = pairs > most ? pairs : most;
    }
    if (w->step == ANSWERED) {
        post(w, leg, most, width);
        w->step = SWAPPED;
        return 1;
    }
    if (w->step == SWAPPED && !receive(w, leg, blocks, most, width)) {
        w->trade.slot = rounded(w->most_fresh * width);
        if (w->trade.slot <= w->trade.room)
            memcpy(w->trade.send, w->packed, (size_t)(w->fresh_of[w->trade.rank] * width) * sizeof(double));
        w->step = SWAPPED_MORE;
        return 1;
    }
    if (w->step == SWAPPED_MORE) receive_more(w, width);
    pass_on(leg, w->most_fresh);
    w->step = TOLD;
    return 0;
}

static int has_room(const sweep_t *w, const leg_t *leg) {
    const kept_t *kept = leg->visit->kept;
    if (kept->size + w->fresh > kept->room || kept->size + w->fresh > kept->records) return 0;
    return leg->into == NULL || leg->into->size + w->points <= leg->into->room;
}

static int64_t conclude_leg(sweep_t *w, leg_t *leg) {
    int alone = w->trade.ranks == 1;
    leg->visit->points = w->points;
    leg->visit->states = w->states;
    conclusion_t c = {
        leg->visit, alone ? w->told : w->all_told, 1, w->fresh, alone ? w->packed : w->all_packed, leg->turn,
        w->iteration, w->mean, leg->into,
    };
    int64_t found = cobre_conclude(&c);
    if (found >= 0 && leg->into != NULL) w->added += w->points;
    return found;
}

/* Until this leg's pairs are told what all ranks came to. Returns DONE, or what it ended for. */
static int64_t share_leg(sweep_t *w, leg_t *leg) {
    int64_t ended_for;
    if (w->trade.ranks == 1) w->step = TOLD;
    while (w->step != TOLD) {
        if (!w->trade.swaps && !tell_leg(w, leg)) break;
        if (w->trade.slot > w->trade.room) return -1;
        ended_for = exchange_parts(&w->trade);
        if (ended_for != DONE) return ended_for;
    }
    return DONE;
}

/* Legs at, at - 1, ... down to until + 1: cuts at the distinct trial points of each for the stage in front of it. Returns what
 * it ended for, -1 without memory. After LOST_ALL, told, packed and fresh are to be put in before it goes on. */
static int64_t go_back(sweep_t *w) {
    double began = now();
    for (; w->at > w->until; w->at--, w->step = BEGINS) {
        leg_t *leg = w->legs + w->at;
        if (w->step == BEGINS) {
            if (now() - began > TURN) return PAUSE;
            come_to(&w->board, w->at);
            w->fresh = answer_leg(w, leg);
            w->step = ANSWERED;
            if (w->fresh < 0) return w->fresh;
        }
        int64_t found = share_leg(w, leg);
        if (found != DONE) return found;
        if (!has_room(w, leg)) return ROOM;
        found = conclude_leg(w, leg);
        if (found < 0) return found;
    }
    return DONE;
}

/* The pool of a leg's own cuts is the one that its visit sees. */
static void tell_sizes(const sweep_t *w) {
    for (int64_t t = 0; t < w->count; t++) {
        w->kept_sizes[t] = w->legs[t].visit->kept->size;
        w->pool_sizes[t] = w->legs[t].visit->pool->size;
    }
}

/* As go_back; the sizes are told whatever it ended for. */
int64_t cobre_backward(sweep_t *w) {
    int64_t ended_for = go_back(w);
    tell_sizes(w);
    return ended_for;
}

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

/* A rank has a run of the passes: the costs of all legs, and the states that all but the first are entered with. */
static void post_passes(ahead_t *a) {
    int64_t s = a->legs->visit->f->s, costs = a->last * a->count, most = (a->total + a->trade.ranks - 1) / a->trade.ranks;
    a->trade.slot = most * (a->last + (a->last - 1) * s);
    if (a->trade.slot > a->trade.room) return;
    memcpy(a->trade.send, a->costs, (size_t)costs * sizeof(double));
    memcpy(a->trade.send + costs, a->states + a->count * s, (size_t)((a->last - 1) * a->count * s) * sizeof(double));
}

static void take_passes(ahead_t *a) {
    int64_t s = a->legs->visit->f->s;
    for (int64_t r = 0; r < a->trade.ranks; r++) {
        const double *at = a->trade.received + r * a->trade.slot;
        int64_t first = r * a->total / a->trade.ranks, count = (r + 1) * a->total / a->trade.ranks - first;
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
    if (a->step == BEGINS) post_passes(a);
    if (a->trade.slot > a->trade.room) return -1;
    if (a->step == BEGINS || a->trade.swaps) ended_for = exchange_parts(&a->trade);
    a->step = ANSWERED;
    if (ended_for != DONE) return ended_for;
    take_passes(a);
    a->step = TOLD;
    return DONE;
}

#endif
