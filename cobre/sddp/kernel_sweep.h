/* Many stages in one call: a backward pass from the last to the first; forward passes are in kernel_ahead.h.
 *
 * A call ends before its work is done where somebody else has to do something: it says what, and goes on from there when it
 * is called again. */
#ifndef COBRE_KERNEL_SWEEP_H
#define COBRE_KERNEL_SWEEP_H

#include <time.h>

#include "kernel_visit.h"

/* What a sweep ended for: nothing is left; exchange send with the other ranks; make room for fresh vertices and points
 * cuts; wait for ranks that swap found late; let others have a turn. LOST_ALL: answer the pairs of this leg otherwise.
 * TORN: the units that ranks say they have answered do not make up all. */
enum { DONE, SWAP, ROOM, WAIT, PAUSE, TORN = -3 };

#define TURN 0.05 /* seconds after which a sweep pauses before its next stage: an interrupt is heard in Python only */

/* Exchanges count numbers with the other ranks: cobre_swap of cobre/transport/meet.c. */
typedef int64_t (*swap_t)(void *state, const double *send, int64_t count, const double **received);
enum { HERE, LATE };

/* Takes one more of the units that this rank shares with its neighbour, from its end of them: cobre_claim of the same. */
typedef int64_t (*claim_t)(void *state, int64_t units);

/* This rank's exchanges with the others. */
typedef struct {
    int64_t rank, ranks, shares; /* whether ranks share units of work two by two; alike on all of them */
    double *send;
    int64_t room;           /* numbers in send */
    const double *received; /* ranks x slot */
    int64_t slot;           /* numbers of each rank that are exchanged */
    swap_t swap;            /* NULL: somebody else does it */
    claim_t claim;          /* where they do; NULL for one that is left over */
    void *state;            /* for them */
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
 * kept_sizes, pool_sizes: of all stages' vertices and cuts, when it has ended. at, step: where it stands; until: the leg
 * behind the last. */
typedef struct {
    leg_t *legs;
    int64_t count;
    const double *trials;
    int64_t scenarios, every;
    int64_t *kept_sizes, *pool_sizes;
    int64_t at, until, step, iteration;
    int64_t points, pairs, fresh; /* distinct trial points of this leg; this rank's pairs, then all; new vertices */
    int64_t most_fresh;           /* of a rank */
    int64_t blocks;               /* units at each point */
    int64_t begin, end;           /* of the run of units that this rank has, or shares with its neighbour */
    int64_t first, taken;         /* units of it that are this rank's */
    int64_t low;                  /* told ones of the run that are in front of this rank's */
    double *states;               /* of the points */
    int64_t *rows;                /* the scenario that each comes from */
    int64_t *bucket, buckets;     /* scratch, a power of two, at least twice the scenarios */
    int64_t *fresh_of;            /* of each rank */
    int64_t *openings, *point, *units;
    double *told, *packed; /* this rank's */
    double *all_told;      /* everybody's */
    const double **row_of; /* each of everybody's new vertices, where it was received */
    double *mean;          /* of the values at the points, of the latest leg */
    int64_t added;         /* cuts */
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

static int64_t openings_of(const sweep_t *w) { return w->legs[w->at].visit->f->openings; }

static int64_t pairs_from(const sweep_t *w, int64_t first, int64_t end) {
    return pairs_before(end, w->blocks, openings_of(w)) - pairs_before(first, w->blocks, openings_of(w));
}

#define MOST_SHARED (1 << 20) /* units that claims can count */
#define OWN_EIGHTHS 5         /* of its share that a rank does not give away */

/* Whether two ranks share their units: an even one takes them from the front, the odd one after it from the back, until
 * they meet. What each is told does not depend on who answers it. */
static int is_shared(const sweep_t *w) {
    return w->trade.shares && w->points * w->blocks < MOST_SHARED && has_start(w->legs[w->at].visit);
}

/* The first of a rank's run of the units of work, or of the one that it shares. */
static int64_t run_before(const sweep_t *w, int64_t rank) {
    int64_t first = is_shared(w) ? rank - rank % 2 : rank;
    return first * w->points * w->blocks / w->trade.ranks;
}

static int64_t run_after(const sweep_t *w, int64_t rank) {
    int64_t end = is_shared(w) ? rank - rank % 2 + 2 : rank + 1;
    return (end < w->trade.ranks ? end : w->trade.ranks) * w->points * w->blocks / w->trade.ranks;
}

static int is_alone(const sweep_t *w) { return !is_shared(w) || w->trade.claim == NULL; }

/* The pairs of the run: those of a point and a block of the openings in their order. */
static void deal(sweep_t *w, const leg_t *leg) {
    int64_t openings = openings_of(w), pairs = 0;
    w->blocks = blocks_of(w, leg, openings);
    w->begin = run_before(w, w->trade.rank);
    w->end = run_after(w, w->trade.rank);
    w->taken = 0;
    for (int64_t unit = w->begin; unit < w->end; unit++) {
        int64_t block = unit % w->blocks;
        for (int64_t i = block * openings / w->blocks; i < (block + 1) * openings / w->blocks; i++, pairs++) {
            w->openings[pairs] = leg->order[i];
            w->point[pairs] = unit / w->blocks;
            w->units[pairs] = unit;
        }
    }
    w->pairs = pairs;
}

/* next_t of a visit. First a part that is this rank's in any case: what is done at once uses what the caches hold. Then, one
 * unit after the other, what the two have not taken yet. */
static int take_units(void *deal, int64_t *from, int64_t *to) {
    sweep_t *w = deal;
    int64_t units = w->end - w->begin, own = units * OWN_EIGHTHS / 16, count = w->taken == 0 && own > 0 ? own : 1;
    if ((w->taken > 0 || own == 0) && !w->trade.claim(w->trade.state, units - 2 * own)) return 0;
    int64_t first = w->trade.rank % 2 ? w->end - w->taken - count : w->begin + w->taken;
    w->taken += count;
    *from = pairs_from(w, w->begin, first);
    *to = pairs_from(w, w->begin, first + count);
    return 1;
}

/* Which ones of the run have become this rank's. */
static void see_taken(sweep_t *w) {
    if (is_alone(w)) w->taken = w->end - w->begin;
    w->first = w->trade.rank % 2 && !is_alone(w) ? w->end - w->taken : w->begin;
    w->low = pairs_from(w, w->begin, w->first);
    w->pairs = pairs_from(w, w->first, w->first + w->taken);
}

static void count_visit(spent_t *spent, const visit_t *v, double began) {
    for (int64_t i = 0; i < 4; i++) spent->totals[i] += v->totals[i];
    spent->seconds += now() - began;
}

static int64_t answer_leg(sweep_t *w, leg_t *leg) {
    visit_t *v = leg->visit;
    double began = now();
    find_distinct(w, leg, v->f->s);
    deal(w, leg);
    v->points = w->points;
    v->count = w->pairs;
    v->states = w->states;
    v->openings = w->openings;
    v->point = w->point;
    v->units = w->units;
    v->first = w->told;
    v->second = w->packed;
    v->next = is_alone(w) ? NULL : take_units;
    v->deal = w;
    int64_t found = cobre_answer(v);
    v->next = NULL;
    see_taken(w);
    if (found >= 0) count_visit(w->spent, v, began);
    return found;
}

/* The next of 1, 2, 3, 4, 6, 8, 12, 16, ...: ranks that exchange few different sizes need not agree on each anew. */
static int64_t rounded(int64_t count) {
    int64_t power = 1;
    while (power < count) power *= 2;
    return power >= 4 && count <= 3 * power / 4 ? 3 * power / 4 : power;
}

enum { HEAD = 2 }; /* numbers in front of what is exchanged: new vertices, units */

/* What this rank's pairs are told, and as many of its new vertices as there were of late. most: pairs of any rank. */
static void post(sweep_t *w, const leg_t *leg, int64_t most, int64_t width) {
    int64_t along = w->fresh < leg->cap ? w->fresh : leg->cap;
    double *send = w->trade.send;
    w->trade.slot = rounded(HEAD + most + leg->cap * width);
    if (w->trade.slot > w->trade.room) return;
    send[0] = (double)w->fresh;
    send[1] = (double)w->taken;
    memcpy(send + HEAD, w->told + w->low, (size_t)w->pairs * sizeof(double));
    memcpy(send + HEAD + most, w->packed, (size_t)(along * width) * sizeof(double));
}

static void point_at_rows(sweep_t *w, int64_t first, int64_t count, const double *at, int64_t width) {
    for (int64_t i = 0; i < count; i++) w->row_of[first + i] = at + i * width;
}

/* Everybody's, unit after unit. Returns whether all new vertices came along, TORN where units are missing. */
static int64_t receive(sweep_t *w, leg_t *leg, int64_t most, int64_t width) {
    int64_t all = 0, units = 0;
    w->fresh = w->most_fresh = 0;
    for (int64_t r = 0; r < w->trade.ranks; r++) {
        const double *at = w->trade.received + r * w->trade.slot;
        int64_t fresh = (int64_t)at[0], taken = (int64_t)at[1];
        if (taken < 0 || units + taken > w->points * w->blocks) return TORN;
        int64_t pairs = pairs_from(w, units, units + taken);
        units += taken;
        memcpy(w->all_told + all, at + HEAD, (size_t)pairs * sizeof(double));
        all += pairs;
        w->fresh_of[r] = fresh;
        if (fresh <= leg->cap)
            point_at_rows(w, w->fresh, fresh, at + HEAD + most, width);
        w->fresh += fresh;
        if (fresh > w->most_fresh) w->most_fresh = fresh;
    }
    if (units != w->points * w->blocks) return TORN;
    w->pairs = all;
    return w->most_fresh <= leg->cap;
}

static void receive_more(sweep_t *w, int64_t width) {
    int64_t fresh = 0;
    for (int64_t r = 0; r < w->trade.ranks; r++) {
        point_at_rows(w, fresh, w->fresh_of[r], w->trade.received + r * w->trade.slot, width);
        fresh += w->fresh_of[r];
    }
}

static void pass_on(leg_t *leg, int64_t most_fresh) {
    leg->cap = most_fresh > leg->cap ? most_fresh : leg->cap > 2 ? leg->cap - 1 : 2;
}

/* From this rank's answers to everybody's. Returns whether there is something to exchange first, TORN as receive. */
static int64_t tell_leg(sweep_t *w, leg_t *leg) {
    int64_t width = packed_width(leg->visit->f, leg->visit->kept), most = 0, all_came;
    for (int64_t r = 0; r < w->trade.ranks; r++) {
        int64_t pairs = pairs_from(w, run_before(w, r), run_after(w, r));
        most = pairs > most ? pairs : most;
    }
    if (w->step == ANSWERED) {
        post(w, leg, most, width);
        w->step = SWAPPED;
        return 1;
    }
    if (w->step == SWAPPED) {
        all_came = receive(w, leg, most, width);
        if (all_came < 0) return all_came;
        if (!all_came) {
            w->trade.slot = rounded(w->most_fresh * width);
            if (w->trade.slot <= w->trade.room)
                memcpy(w->trade.send, w->packed, (size_t)(w->fresh_of[w->trade.rank] * width) * sizeof(double));
            w->step = SWAPPED_MORE;
            return 1;
        }
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
        leg->visit, alone ? w->told : w->all_told, 1, w->fresh, w->packed, alone ? NULL : w->row_of, leg->turn,
        w->iteration, w->mean, leg->into,
    };
    int64_t found = cobre_conclude(&c);
    if (found >= 0 && leg->into != NULL) w->added += w->points;
    return found;
}

/* Until this leg's pairs are told what all ranks came to. Returns DONE, or what it ended for. */
static int64_t share_leg(sweep_t *w, leg_t *leg) {
    if (w->trade.ranks == 1) w->step = TOLD;
    while (w->step != TOLD) {
        int64_t swaps = w->trade.swaps ? 1 : tell_leg(w, leg);
        if (swaps <= 0) return swaps; /* DONE, or TORN */
        if (w->trade.slot > w->trade.room) return -1;
        int64_t ended_for = exchange_parts(&w->trade);
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

#endif
