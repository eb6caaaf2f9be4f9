/* Small LPs that differ in their right-hand sides only: which kept vertex is best, whether its basis is optimal, and,
 * where it is not, a dual simplex method from there. See cobre/sddp/kernel.py for what the arrays mean.
 */
#include "kernel_pivots.h"

typedef struct {
    int64_t size, room;
    const double *levels; /* openings x room */
    const double *slopes; /* s x room */
    const int8_t *status; /* room x (n + m) */
    const int64_t *tight; /* room x (s + 1) */
    uint8_t *known; /* room: whether what follows is */
    double *base, *gain, *low, *high; /* room x wide, room x wide x k, room x wide, room x wide */
    int64_t *place; /* room x (s + 1) */
    double *still; /* room x (s + 1) */
} kept_t;

/* What a kept basis is for any right-hand side, when it is first asked for; NaN in base for one that proves nothing. */
static void learn(walk_t *w, const kept_t *kept, int64_t u) {
    const form_t *f = w->f;
    int64_t wide = f->wide, s = f->s, k = f->k;
    kept->known[u] = 1;
    if (!take_up(w, kept->status + u * (f->n + f->m), kept->tight + u * (s + 1))) {
        for (int64_t p = 0; p < wide; p++) kept->base[u * wide + p] = NAN;
        return;
    }
    compute(w, NULL);
    if (!is_dual_feasible(w)) w->z[0] = NAN;
    for (int64_t p = 0; p < wide; p++) {
        kept->base[u * wide + p] = w->z[p];
        kept->low[u * wide + p] = f->lower[w->basic[p]];
        kept->high[u * wide + p] = f->upper[w->basic[p]];
        for (int64_t j = 0; j < k; j++) kept->gain[(u * wide + p) * k + j] = w->inverse[p * wide + f->moving[j]];
    }
    for (int64_t j = 0; j <= s; j++) {
        int64_t v = f->watched[j];
        kept->place[u * (s + 1) + j] = -1;
        kept->still[u * (s + 1) + j] = w->status[v] == BASIC ? 0.0 : at_rest(f, w->status[v], v);
        for (int64_t p = 0; p < wide; p++)
            if (w->basic[p] == v) kept->place[u * (s + 1) + j] = p;
    }
}

/* Whether kept basis u is optimal at these right-hand sides; then outgoing, scaled. bad: basic variables out of bounds. */
static int kept_proves(
    walk_t *w, const kept_t *kept, int64_t u, const double *sides, double *outgoing, int64_t *bad
) {
    const form_t *f = w->f;
    int64_t wide = f->wide, k = f->k, s = f->s;
    double *z = w->right; /* as scratch */
    if (!kept->known[u]) learn(w, kept, u);
    *bad = 0;
    for (int64_t p = 0; p < wide; p++) {
        const double *gain = kept->gain + (u * wide + p) * k;
        double total = kept->base[u * wide + p];
        for (int64_t j = 0; j < k; j++) total += gain[j] * sides[j];
        z[p] = total;
        if (!(total >= kept->low[u * wide + p] - FEASIBLE && total <= kept->high[u * wide + p] + FEASIBLE)) ++*bad;
    }
    if (*bad) return 0;
    for (int64_t j = 0; j <= s; j++) {
        int64_t place = kept->place[u * (s + 1) + j];
        outgoing[j] = place < 0 ? kept->still[u * (s + 1) + j] : z[place];
    }
    return most_violated(f, w->pool, outgoing, NULL, w->heights) < 0;
}

/* The best kept vertex of each of r pairs, its value, and whether its basis is optimal there; then outgoing, scaled.
 * Where a dual vertex has several bases, one of them may be optimal when the others are not. */
WIDE int64_t cobre_prove(
    const form_t *f, const pool_t *pool, const kept_t *kept, int64_t points, const double *states, int64_t count,
    const int64_t *openings, const int64_t *point, const double *sides, int64_t *vertex, double *value,
    uint8_t *proved, double *outgoing
) {
    int64_t s = f->s, size = kept->size;
    walk_t w;
    char *memory = prepare(&w, f, pool);
    double *tilt = malloc((size_t)((points + 1) * size + 1) * sizeof(double)), *sums;
    if (memory == NULL || tilt == NULL) {
        free(memory);
        free(tilt);
        return -1;
    }
    sums = tilt + points * size;
    memset(tilt, 0, (size_t)(points * size) * sizeof(double));
    for (int64_t q = 0; q < points; q++)
        for (int64_t j = 0; j < s; j++) {
            double x = states[q * s + j];
            const double *slopes = kept->slopes + j * kept->room;
            double *line = tilt + q * size;
            for (int64_t u = 0; u < size; u++) line[u] += x * slopes[u];
        }
    for (int64_t r = 0; r < count; r++) {
        const double *level = kept->levels + openings[r] * kept->room, *line = tilt + point[r] * size;
        const double *side = sides + r * f->k;
        double best = -INFINITY, near;
        int64_t u = -1, tries = 0, bad, least;
        for (int64_t i = 0; i < size; i++) {
            sums[i] = level[i] + line[i];
            if (sums[i] > best) {
                best = sums[i];
                u = i;
            }
        }
        vertex[r] = u;
        value[r] = best;
        proved[r] = 0;
        if (u < 0) continue;
        proved[r] = (uint8_t)kept_proves(&w, kept, u, side, outgoing + r * (s + 1), &least);
        near = best - ALIKE * fmax(1.0, fabs(best));
        for (int64_t i = size - 1; i >= 0 && !proved[r] && tries < TRIES; i--) {
            if (i == u || !(sums[i] >= near)) continue;
            tries++;
            proved[r] = (uint8_t)kept_proves(&w, kept, i, side, outgoing + r * (s + 1), &bad);
            if (!proved[r] && bad >= least) continue;
            vertex[r] = i; /* at the least, it is nearer to the optimal one */
            least = bad;
        }
    }
    free(tilt);
    free(memory);
    return 0;
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

/* Solve r pairs: the rows'th of sides, each from the from'th of the starts, which is known to give it so much (scaled), or
 * from a basis that a pair before it of the same unit has come to. */
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
        if (r > 0 && units[r] != units[r - 1]) own.count = 0;
        out->pivots[r] = 0;
        out->same[r] = -1;
        out->outcome[r] = LOST;
        int64_t at = ask_own(&w, &own, out, r, rows, sides, known[r]), o = at < 0 ? -1 : own.pair[at];
        if (out->outcome[r] == SAME) {
            memcpy(out->outgoing + r * (s + 1), w.outgoing, (size_t)(s + 1) * sizeof(double));
            continue;
        }
        const int8_t *status = o < 0 ? start_status + from[r] * (n + m) : out->status + o * (n + m);
        const int64_t *tight = o < 0 ? start_tight + from[r] * (s + 1) : out->tight + o * (s + 1);
        if (o < 0 && from[r] < 0) continue;
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
        if (r + 1 < count && units[r + 1] == units[r]) remember(&own, &w, r);
    }
    free(memory);
    free(others);
    return 0;
}
