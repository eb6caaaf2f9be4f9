/* Small LPs that differ in their right-hand sides only: which kept vertex is best, whether its basis is optimal, and,
 * where it is not, a dual simplex method from there; what comes of it is kept, and averaged into cuts. See
 * cobre/sddp/kernel.py and cobre/sddp/small_vertices.py for what the arrays mean.
 *
 * Sums run one number after the other, in the order in which numpy's element by element operations have them.
 */
#include "kernel_kept.h"
#include "kernel_pivots.h"

enum { FRESH = -1, NONE = -2, LOST_ALL = -2 }; /* instead of a place; NONE - d: that of the d-th FRESH one before it */

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
    double best = -INFINITY, near;
    int64_t u = -1, tries = 0, bad, least;
    for (int64_t i = 0; i < kept->size; i++)
        if (sums[i] > best) {
            best = sums[i];
            u = i;
        }
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

/* What a unit of work has solved so far, its latest OWN bases: they answer its other pairs, and start them. */
typedef struct {
    int64_t count;
    int64_t *pair; /* OWN: whose each is */
    int64_t *basic; /* OWN x wide */
    double *z, *gain; /* OWN x wide, OWN x wide x k: basic variables, and what right-hand sides do to them */
} own_t;

static char *lay_out_own(own_t *own, const form_t *f, char *at) {
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
    return most_violated(f, w->pool, w->outgoing, NULL, w->heights) < 0;
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

/* Solve those of the pairs that are left: each from the from'th of the starts, which is known to give it so much (scaled),
 * or from a basis that a pair before it of the same unit has come to. from, known, units and sides: of all pairs. */
int64_t cobre_walk(
    const form_t *f, const pool_t *pool, const int8_t *start_status, const int64_t *start_tight, int64_t count,
    const int64_t *from, const double *known, const int64_t *units, const int64_t *rows, const double *sides,
    int64_t most, const walked_t *out
) {
    int64_t m = f->m, n = f->n, s = f->s;
    walk_t w;
    own_t own;
    char *memory = prepare(&w, f, pool), *others = malloc((size_t)(lay_out_own(&own, f, 0) - (char *)0));
    if (memory == NULL || others == NULL) {
        free(memory);
        free(others);
        return -1;
    }
    lay_out_own(&own, f, others);
    int64_t held = -1; /* the pair whose basis w holds */
    for (int64_t r = 0; r < count; r++) {
        const double *side = sides + rows[r] * f->k;
        if (r > 0 && units[rows[r]] != units[rows[r - 1]]) own.count = 0;
        out->pivots[r] = 0;
        out->same[r] = -1;
        out->outcome[r] = LOST;
        int64_t at = ask_own(&w, &own, out, r, rows, sides, known[rows[r]]), o = at < 0 ? -1 : own.pair[at];
        if (out->outcome[r] == SAME) {
            memcpy(out->outgoing + r * (s + 1), w.outgoing, (size_t)(s + 1) * sizeof(double));
            continue;
        }
        const int8_t *status = o < 0 ? start_status + from[rows[r]] * (n + m) : out->status + o * (n + m);
        const int64_t *tight = o < 0 ? start_tight + from[rows[r]] * (s + 1) : out->tight + o * (s + 1);
        if (o < 0 && from[rows[r]] < 0) continue;
        if ((o < 0 || o != held) && !take_up(&w, status, tight)) {
            held = -1;
            continue;
        }
        held = -1;
        compute(&w, side);
        int came_to = walk(&w, most, out->pivots + r);
        if (came_to == LOST) continue;
        came_to = settle(&w, came_to, side, out->status + r * (n + m), out->tight + r * (s + 1));
        out->outcome[r] = (uint8_t)came_to;
        if (came_to == LOST) continue;
        out->objective[r] = objective_of(&w);
        memcpy(out->outgoing + r * (s + 1), w.outgoing, (size_t)(s + 1) * sizeof(double));
        memcpy(out->duals + r * m, w.y, (size_t)m * sizeof(double));
        if (came_to != OPTIMAL) continue;
        held = r;
        if (r + 1 < count && units[rows[r + 1]] == units[rows[r]]) remember(&own, &w, r);
    }
    memset(out->totals, 0, 5 * sizeof(int64_t));
    for (int64_t r = 0; r < count; r++) {
        out->totals[out->outcome[r]]++;
        out->totals[4] += out->pivots[r];
    }
    free(memory);
    free(others);
    return 0;
}

/* -- what solutions leave ------------------------------------------------------------------------------------------ */

/* The vertex that a solution is at, as a row; the value of its pair is value there. */
static void pack(const form_t *f, const walked_t *found, int64_t i, int64_t opening, const double *state, double *row) {
    const double *duals = found->duals + i * f->m;
    double *multipliers = row + 1, *slopes = multipliers + f->r, *cuts = slopes + f->s, total = 0.0;
    for (int64_t j = 0; j < f->s; j++) {
        double slope = f->incoming_cost[j];
        for (int64_t e = f->by_state[j]; e < f->by_state[j + 1]; e++) {
            int64_t v = f->by_state_row[e];
            slope -= f->by_state_value[e] * (duals[v] * f->dual_scale[v]);
        }
        slopes[j] = slope;
        total = j ? total + slope * state[j] : slope * state[j];
    }
    for (int64_t r = 0; r < f->r; r++) {
        int64_t v = f->noise_rows[r];
        multipliers[r] = duals[v] * f->dual_scale[v];
        double term = multipliers[r] * f->noise[opening * f->r + r];
        total = r || f->s ? total + term : term;
    }
    row[0] = found->objective[i] / f->cost_scale + incoming_cost_of(f, state) - total;
    for (int64_t j = 0; j <= f->s; j++) cuts[j] = (double)found->tight[i * (f->s + 1) + j];
    memset(cuts + f->s + 1, 0, (size_t)((f->n + f->m + 7) / 8 * 8));
    memcpy(cuts + f->s + 1, found->status + i * (f->n + f->m), (size_t)(f->n + f->m));
}

/* What the pairs that were solved, the rows'th, came to, told to all: the place of their vertex, or FRESH, with rows of
 * packed in their order. Returns how many of these, -1 without memory. */
int64_t cobre_name(
    const form_t *f, const kept_t *kept, int64_t count, const int64_t *rows, const int64_t *openings,
    const int64_t *point, const double *states, const walked_t *found, double *told, int64_t stride, double *packed
) {
    int64_t fresh = 0, *so_far = malloc((size_t)(count + 1) * sizeof(int64_t)), width = packed_width(f);
    if (so_far == NULL) return -1;
    for (int64_t i = 0; i < count; i++) {
        int64_t of = found->same[i], code;
        if (of >= 0) {
            code = (int64_t)told[rows[of] * stride];
            if (code == FRESH) code = NONE - (fresh - so_far[of] + 1);
        } else {
            code = *bucket_of(f, kept, found->status + i * (f->n + f->m), found->tight + i * (f->s + 1));
            if (code < 0) {
                code = FRESH;
                pack(f, found, i, openings[rows[i]], states + point[rows[i]] * f->s, packed + fresh++ * width);
            }
        }
        so_far[i] = fresh;
        told[rows[i] * stride] = (double)code;
    }
    free(so_far);
    return fresh;
}

/* -- all of it, where nothing is lost ------------------------------------------------------------------------------- */

/* Pairs that were proved and walked. */
typedef struct {
    char *memory[2];
    proof_t proofs;
    walked_t walked;
    int64_t *left, lefts, counts[5];
} batch_t;

static char *lay_out_proofs(const form_t *f, int64_t count, batch_t *b, char *at) {
    int64_t d = (int64_t)sizeof(double);
    b->proofs.sides = take(&at, count * f->k * d);
    b->proofs.vertex = take(&at, count * d);
    b->proofs.value = take(&at, count * d);
    b->proofs.known = take(&at, count * d);
    b->proofs.proved = take(&at, count);
    b->proofs.outgoing = take(&at, count * (f->s + 1) * d);
    b->left = take(&at, count * d);
    return at;
}

static char *lay_out_walked(const form_t *f, batch_t *b, char *at) {
    int64_t d = (int64_t)sizeof(double), count = b->lefts;
    b->walked.outcome = take(&at, count);
    b->walked.pivots = take(&at, count * d);
    b->walked.same = take(&at, count * d);
    b->walked.objective = take(&at, count * d);
    b->walked.outgoing = take(&at, count * (f->s + 1) * d);
    b->walked.duals = take(&at, count * f->m * d);
    b->walked.status = take(&at, count * (f->n + f->m));
    b->walked.tight = take(&at, count * (f->s + 1) * d);
    b->walked.totals = b->counts;
    return at;
}

static void let_go(batch_t *b) {
    free(b->memory[0]);
    free(b->memory[1]);
}

/* A stage's pairs of an opening and a point, a row of states, of units of work; and where a solve begins while nothing is
 * kept. first, second: told and packed of cobre_answer, costs and next states of cobre_follow. */
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
} visit_t;

/* Prove what kept vertices prove and solve the rest. Returns how many were lost, -1 without memory; let_go in any case. */
static int64_t prove_and_walk(visit_t *v, batch_t *b) {
    const form_t *f = v->f;
    kept_t *kept = v->kept;
    int from_kept = kept->size > 0;
    b->memory[1] = NULL;
    b->lefts = 0;
    b->memory[0] = malloc((size_t)(lay_out_proofs(f, v->count, b, 0) - (char *)0) + 1);
    if (b->memory[0] == NULL) return -1;
    lay_out_proofs(f, v->count, b, b->memory[0]);
    v->totals[0] = cobre_prove(f, v->pool, kept, v->points, v->states, v->count, v->openings, v->point, &b->proofs);
    if (v->totals[0] < 0) return -1;
    for (int64_t r = 0; r < v->count; r++) {
        if (b->proofs.proved[r]) continue;
        b->left[b->lefts++] = r;
        if (!from_kept) b->proofs.vertex[r] = 0;
    }
    b->memory[1] = malloc((size_t)(lay_out_walked(f, b, 0) - (char *)0) + 1);
    if (b->memory[1] == NULL) return -1;
    lay_out_walked(f, b, b->memory[1]);
    if (cobre_walk(
            f, v->pool, from_kept ? kept->status : v->start_status, from_kept ? kept->tight : v->start_tight, b->lefts,
            b->proofs.vertex, b->proofs.known, v->units, b->left, b->proofs.sides, v->most, &b->walked
        ) < 0)
        return -1;
    v->totals[1] = b->counts[OPTIMAL];
    v->totals[2] = b->counts[SAME];
    v->totals[3] = b->counts[4];
    return b->counts[BOUND] + b->counts[LOST];
}

/* cobre_prove, cobre_walk and cobre_name in one. Returns how many rows of packed there are, -1 without memory, LOST_ALL
 * where a pair was lost: then nothing is told. */
int64_t cobre_answer(visit_t *v) {
    batch_t b;
    int64_t found = prove_and_walk(v, &b);
    if (found == 0) {
        for (int64_t r = 0; r < v->count; r++) v->first[r] = (double)b.proofs.vertex[r];
        found = cobre_name(
            v->f, v->kept, b.lefts, b.left, v->openings, v->point, v->states, &b.walked, v->first, 1, v->second
        );
    } else if (found > 0) {
        found = LOST_ALL;
    }
    let_go(&b);
    return found;
}

/* cobre_prove and cobre_walk for the stage's own costs (count) and the states that the next one is entered with (count x s),
 * neither scaled. Returns 0, or as above. */
int64_t cobre_follow(visit_t *v) {
    const form_t *f = v->f;
    batch_t b;
    int64_t s = f->s, found = prove_and_walk(v, &b);
    if (found == 0) {
        for (int64_t i = 0; i < b.lefts; i++) {
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

/* Keep the u vertices that were told as FRESH; places (points x openings): of the vertices of all pairs, told unit after
 * unit in the order that turn (of each opening) gives. Returns how many vertices there are, -1 without memory. */
int64_t cobre_keep(
    const form_t *f, kept_t *kept, int64_t points, const double *told, int64_t stride, int64_t u, const double *packed,
    const int64_t *turn, int64_t iteration, int64_t *places
) {
    int64_t count = points * f->openings, fresh = 0, width = packed_width(f);
    int64_t *memory = malloc((size_t)(u + count + 1) * sizeof(int64_t)), *kept_at = memory, *told_at = memory + u;
    if (memory == NULL) return -1;
    for (int64_t i = 0; i < u; i++) {
        kept_at[i] = keep_one(f, kept, packed + i * width);
        kept->last_used[kept_at[i]] = iteration;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t code = (int64_t)told[i * stride];
        if (code == FRESH) code = kept_at[fresh++];
        told_at[i] = code < NONE ? kept_at[fresh - (NONE - code)] : code;
    }
    for (int64_t q = 0; q < points; q++)
        for (int64_t o = 0; o < f->openings; o++) places[q * f->openings + o] = told_at[q * f->openings + turn[o]];
    free(memory);
    return kept->size;
}

/* What the vertices at these places (points x openings) give; they, and the cuts that are tight in them, are in use. */
int64_t cobre_outcomes(
    const form_t *f, const pool_t *pool, const kept_t *kept, int64_t points, const double *states,
    const int64_t *places, int64_t iteration, double *values
) {
    int64_t s = f->s;
    for (int64_t i = 0; i < points * f->openings; i++) {
        int64_t u = places[i], o = i % f->openings;
        const double *state = states + i / f->openings * s;
        double tilt = 0.0;
        for (int64_t j = 0; j < s; j++) tilt += kept->slopes[j * kept->room + u] * state[j];
        values[i] = kept->levels[o * kept->room + u] + tilt;
        kept->last_used[u] = iteration;
        for (int64_t j = 0; j <= s; j++) {
            int64_t id = kept->tight[u * (s + 1) + j];
            if (id < 0) continue;
            pool->times_active[id]++;
            pool->last_active[id] = iteration;
        }
    }
    return 0;
}

/* Means of values (points x openings) and of the slopes at these places, with weights for each point, every so far. */
int64_t cobre_average(
    const form_t *f, const kept_t *kept, int64_t points, const int64_t *places, const double *values,
    const double *weights, int64_t every, double *mean, double *slopes
) {
    int64_t openings = f->openings, s = f->s;
    for (int64_t q = 0; q < points; q++) {
        const double *weight = weights + q * every;
        for (int64_t o = 0; o < openings; o++) {
            double term = weight[o] * values[q * openings + o];
            mean[q] = o ? mean[q] + term : term;
            const double *of = kept->slopes + places[q * openings + o];
            for (int64_t j = 0; j < s; j++) {
                term = weight[o] * of[j * kept->room];
                slopes[q * s + j] = o ? slopes[q * s + j] + term : term;
            }
        }
    }
    return 0;
}

/* What a visit's pairs, all ranks', were told, with rows of packed for the u new ones; mean (points): where their values'
 * expectations go. into: the pool that gets the cuts, or NULL. */
typedef struct {
    const visit_t *v;
    const double *told;
    int64_t stride, u;
    const double *packed;
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
    size = cobre_keep(f, v->kept, points, c->told, c->stride, c->u, c->packed, c->turn, c->iteration, places);
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

/* Find all that are kept by their bases anew. */
int64_t cobre_index(const form_t *f, kept_t *kept) {
    for (int64_t i = 0; i < kept->buckets; i++) kept->bucket[i] = -1;
    for (int64_t u = 0; u < kept->size; u++)
        *bucket_of(f, kept, kept->status + u * (f->n + f->m), kept->tight + u * (f->s + 1)) = u;
    return 0;
}
