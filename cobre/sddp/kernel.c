/* Small LPs that differ in their right-hand sides only: which kept vertex is best, whether its basis is optimal, and,
 * where it is not, a dual simplex method from there. See cobre/sddp/kernel.py for what the arrays mean.
 *
 * A basis lies here as a dense inverse. Cuts are rows only while they matter: s + 2 slots hold those that are tight,
 * and one more, which a solution violates. A basis begins dual feasible and stays so; what comes out is computed anew
 * from its list of basic variables, never from what many pivots left behind.
 *
 * Koberstein, The dual simplex method, techniques for a fast and stable implementation, 2005: steepest edge pricing
 * (section 3.3), bound flipping ratio test (3.2.2). Sums run in a fixed order, and are not to be contracted
 * (-ffp-contract=off), so that a pair's bits depend on nothing but the pair.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Wider registers where the processor has them: loops over elements only, whose bits do not depend on the width. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

enum { LOWER = 0, BASIC = 1, UPPER = 2, ZERO = 3 };
enum { OPTIMAL = 0, BOUND = 1, LOST = 2 };

#define FEASIBLE 1e-9 /* of a scaled variable or reduced cost: HiGHS's own tolerance here */
#define VIOLATED 1e-10 /* of a cut, relative to max(1, |cost-to-go|) */
#define PIVOT 1e-7 /* an entry of the pivot row below this is no pivot */
#define SINGULAR 1e-11 /* of a basis's matrix, relative to its largest entry */

typedef struct {
    int64_t m, n, s, k, wide, vars;
    const double *matrix; /* m x n */
    const double *columns; /* n x m */
    const double *lower, *upper; /* vars */
    const double *cost; /* n */
    const double *rhs; /* m */
    const int64_t *moving; /* k */
    const int64_t *watched; /* s + 1 */
    const double *cut_scale; /* s */
    const double *watched_scale; /* s + 1 */
    double intercept_scale;
} form_t;

typedef struct {
    int64_t size, room;
    const double *slopes; /* room x s */
    const double *by_state; /* s x room */
    const double *intercepts; /* room */
    const double *shown; /* size: intercepts, -inf where a cut is not active */
} pool_t;

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

typedef struct {
    const form_t *f;
    const pool_t *pool;
    int64_t *basic; /* wide */
    int8_t *status; /* vars */
    int64_t *cuts; /* s + 2 */
    double *coef; /* (s + 2) x (s + 1) */
    double *slot_right; /* s + 2 */
    double *inverse; /* wide x wide */
    double *matrix; /* wide x wide, scratch */
    double *z, *y, *right, *column; /* wide */
    double *reduced, *row; /* vars */
    double *outgoing; /* s + 1, scaled */
    double *heights; /* pool size */
    double *ratio, *rate; /* vars, of candidates */
    int64_t *candidate; /* vars */
    int64_t *watched_of; /* n, s + 1 for none */
} walk_t;

static void *take(char **at, int64_t bytes) {
    void *found = *at;
    *at += (bytes + 63) / 64 * 64;
    return found;
}

static char *lay_out(walk_t *w, const form_t *f, const pool_t *pool, char *at) {
    int64_t wide = f->wide, slots = f->s + 2, d = (int64_t)sizeof(double);
    w->f = f;
    w->pool = pool;
    w->basic = take(&at, wide * d);
    w->status = take(&at, f->vars);
    w->cuts = take(&at, slots * d);
    w->coef = take(&at, slots * (f->s + 1) * d);
    w->slot_right = take(&at, slots * d);
    w->inverse = take(&at, wide * wide * d);
    w->matrix = take(&at, wide * wide * d);
    w->z = take(&at, wide * d);
    w->y = take(&at, wide * d);
    w->right = take(&at, wide * d);
    w->column = take(&at, wide * d);
    w->reduced = take(&at, f->vars * d);
    w->row = take(&at, f->vars * d);
    w->outgoing = take(&at, (f->s + 1) * d);
    w->heights = take(&at, pool->size * d);
    w->ratio = take(&at, f->vars * d);
    w->rate = take(&at, f->vars * d);
    w->candidate = take(&at, f->vars * d);
    w->watched_of = take(&at, f->n * d);
    return at;
}

static char *prepare(walk_t *w, const form_t *f, const pool_t *pool) {
    char *memory = malloc((size_t)(lay_out(w, f, pool, 0) - (char *)0) + 64);
    if (memory == NULL) return NULL;
    lay_out(w, f, pool, (char *)(((uintptr_t)memory + 63) / 64 * 64));
    for (int64_t v = 0; v < f->n; v++) w->watched_of[v] = f->s + 1;
    for (int64_t j = 0; j <= f->s; j++) w->watched_of[f->watched[j]] = j;
    return memory;
}

static double at_rest(const form_t *f, int8_t status, int64_t v) {
    if (status == LOWER) return f->lower[v];
    return status == UPPER ? f->upper[v] : 0.0;
}

static void slot_row(const form_t *f, const pool_t *pool, int64_t id, double *coef, double *right) {
    for (int64_t j = 0; j < f->s; j++) coef[j] = id < 0 ? 0.0 : pool->slopes[id * f->s + j] * f->cut_scale[j];
    coef[f->s] = id < 0 ? 0.0 : 1.0;
    *right = id < 0 ? 0.0 : pool->intercepts[id] * f->intercept_scale;
}

/* Gauss and Jordan, with the largest entry of a column as its pivot; w->matrix is used up. 0 where it is singular. */
WIDE static int invert(walk_t *w) {
    int64_t wide = w->f->wide;
    double *a = w->matrix, *b = w->inverse, largest = 0.0;
    for (int64_t i = 0; i < wide * wide; i++) {
        b[i] = 0.0;
        if (fabs(a[i]) > largest) largest = fabs(a[i]);
    }
    for (int64_t i = 0; i < wide; i++) b[i * wide + i] = 1.0;
    for (int64_t c = 0; c < wide; c++) {
        int64_t p = c;
        for (int64_t i = c + 1; i < wide; i++)
            if (fabs(a[i * wide + c]) > fabs(a[p * wide + c])) p = i;
        if (!(fabs(a[p * wide + c]) > SINGULAR * largest)) return 0;
        double pivot = 1.0 / a[p * wide + c];
        for (int64_t j = 0; j < wide; j++) {
            double x = a[p * wide + j], y = b[p * wide + j];
            a[p * wide + j] = a[c * wide + j];
            b[p * wide + j] = b[c * wide + j];
            a[c * wide + j] = x * pivot;
            b[c * wide + j] = y * pivot;
        }
        for (int64_t i = 0; i < wide; i++) {
            double factor = a[i * wide + c];
            if (i == c || factor == 0.0) continue;
            for (int64_t j = c; j < wide; j++) a[i * wide + j] -= factor * a[c * wide + j];
            for (int64_t j = 0; j < wide; j++) b[i * wide + j] -= factor * b[c * wide + j];
        }
    }
    return 1;
}

/* Take up a basis: its variables in rising order, its tight cuts in the first slots. 0 where it is none. */
static int take_up(walk_t *w, const int8_t *status, const int64_t *tight) {
    const form_t *f = w->f;
    int64_t m = f->m, n = f->n, s = f->s, wide = f->wide, found = 0;
    memcpy(w->status, status, (size_t)(n + m));
    for (int64_t j = 0; j < s + 2; j++) {
        w->cuts[j] = j <= s ? tight[j] : -1;
        if (w->cuts[j] >= w->pool->size) return 0;
        w->status[n + m + j] = w->cuts[j] >= 0 ? LOWER : BASIC;
        slot_row(f, w->pool, w->cuts[j], w->coef + j * (s + 1), w->slot_right + j);
    }
    for (int64_t v = 0; v < f->vars; v++) {
        if (w->status[v] != BASIC) continue;
        if (found == wide) return 0;
        w->basic[found++] = v;
    }
    if (found != wide) return 0;
    memset(w->matrix, 0, (size_t)(wide * wide) * sizeof(double));
    for (int64_t p = 0; p < wide; p++) {
        int64_t v = w->basic[p];
        if (v >= n) {
            w->matrix[(v - n) * wide + p] = -1.0;
            continue;
        }
        for (int64_t i = 0; i < m; i++) w->matrix[i * wide + p] = f->columns[v * m + i];
        if (w->watched_of[v] > s) continue;
        for (int64_t j = 0; j < s + 2; j++) w->matrix[(m + j) * wide + p] = w->coef[j * (s + 1) + w->watched_of[v]];
    }
    return invert(w);
}

/* row = combination of all rows, slots' and slacks' entries included. */
WIDE static void combine(const walk_t *w, const double *weights, double *row) {
    const form_t *f = w->f;
    int64_t m = f->m, n = f->n, s = f->s;
    memset(row, 0, (size_t)n * sizeof(double));
    for (int64_t i = 0; i < m; i++) {
        double weight = weights[i];
        const double *line = f->matrix + i * n;
        if (weight != 0.0)
            for (int64_t v = 0; v < n; v++) row[v] += weight * line[v];
    }
    for (int64_t j = 0; j < s + 2; j++)
        for (int64_t k = 0; k <= s; k++) row[f->watched[k]] += weights[m + j] * w->coef[j * (s + 1) + k];
    for (int64_t i = 0; i < f->wide; i++) row[n + i] = -weights[i];
}

/* z, y and reduced costs from the inverse; sides: k right-hand sides, or NULL where they are left out. */
static void compute(walk_t *w, const double *sides) {
    const form_t *f = w->f;
    int64_t m = f->m, n = f->n, s = f->s, wide = f->wide;
    memcpy(w->right, f->rhs, (size_t)m * sizeof(double));
    memcpy(w->right + m, w->slot_right, (size_t)(s + 2) * sizeof(double));
    for (int64_t v = 0; v < n; v++) {
        double x = w->status[v] == BASIC ? 0.0 : at_rest(f, w->status[v], v);
        if (x == 0.0) continue;
        for (int64_t i = 0; i < m; i++) w->right[i] -= f->columns[v * m + i] * x;
        if (w->watched_of[v] > s) continue;
        for (int64_t j = 0; j < s + 2; j++) w->right[m + j] -= w->coef[j * (s + 1) + w->watched_of[v]] * x;
    }
    if (sides != NULL)
        for (int64_t k = 0; k < f->k; k++) w->right[f->moving[k]] += sides[k];
    memset(w->y, 0, (size_t)wide * sizeof(double));
    for (int64_t p = 0; p < wide; p++) {
        const double *line = w->inverse + p * wide;
        double total = 0.0, cost = w->basic[p] < n ? f->cost[w->basic[p]] : 0.0;
        for (int64_t i = 0; i < wide; i++) total += line[i] * w->right[i];
        w->z[p] = total;
        if (cost != 0.0)
            for (int64_t i = 0; i < wide; i++) w->y[i] += cost * line[i];
    }
    combine(w, w->y, w->row);
    for (int64_t v = 0; v < f->vars; v++) w->reduced[v] = (v < n ? f->cost[v] : 0.0) - w->row[v];
}

static void find_outgoing(walk_t *w) {
    const form_t *f = w->f;
    for (int64_t k = 0; k <= f->s; k++) {
        int64_t v = f->watched[k];
        w->outgoing[k] = w->status[v] == BASIC ? 0.0 : at_rest(f, w->status[v], v);
    }
    for (int64_t p = 0; p < f->wide; p++) {
        int64_t v = w->basic[p];
        if (v < f->n && w->watched_of[v] <= f->s) w->outgoing[w->watched_of[v]] = w->z[p];
    }
}

static double allowed(const form_t *f, double cost_to_go) {
    double relative = VIOLATED * fmax(1.0, fabs(cost_to_go));
    /* less than twice what a row of the LP may be exceeded by would not make a pivot */
    return fmax(relative, 2.0 * FEASIBLE * f->watched_scale[f->s]);
}

/* The cut that a solution (scaled, s + 1) violates most, -1 for none. */
WIDE static int64_t most_violated(
    const form_t *f, const pool_t *pool, const double *outgoing, const int64_t *cuts, double *heights
) {
    int64_t size = pool->size, worst = -1;
    double cost_to_go = outgoing[f->s] * f->watched_scale[f->s], highest;
    if (size == 0) return -1;
    memcpy(heights, pool->shown, (size_t)size * sizeof(double));
    for (int64_t j = 0; j < f->s; j++) {
        double x = outgoing[j] * f->watched_scale[j];
        const double *slopes = pool->by_state + j * pool->room;
        if (x != 0.0)
            for (int64_t c = 0; c < size; c++) heights[c] += x * slopes[c];
    }
    if (cuts != NULL)
        for (int64_t j = 0; j < f->s + 2; j++)
            if (cuts[j] >= 0) heights[cuts[j]] = -INFINITY;
    highest = cost_to_go + allowed(f, cost_to_go);
    for (int64_t c = 0; c < size; c++)
        if (heights[c] > highest) {
            highest = heights[c];
            worst = c;
        }
    return worst;
}

/* Put a violated cut into a slot whose slack is basic: one without a cut, or the least tight. Returns its place. */
static int64_t enter_cut(walk_t *w, int64_t id) {
    const form_t *f = w->f;
    int64_t m = f->m, s = f->s, wide = f->wide, first = f->n + m, slot = -1, place = -1;
    double most = -1.0;
    for (int64_t p = 0; p < wide; p++) {
        int64_t j = w->basic[p] - first;
        if (j < 0) continue;
        double room = w->cuts[j] < 0 ? INFINITY : w->z[p];
        if (slot < 0 || room > most || (room == most && j < slot)) {
            slot = j;
            place = p;
            most = room;
        }
    }
    if (slot < 0) return -1;
    double *coef = w->coef + slot * (s + 1), *line = w->inverse + place * wide, value;
    slot_row(f, w->pool, id, coef, w->slot_right + slot);
    w->cuts[slot] = id;
    memset(line, 0, (size_t)wide * sizeof(double));
    for (int64_t p = 0; p < wide; p++) {
        int64_t v = w->basic[p];
        if (p == place || v >= f->n || w->watched_of[v] > s) continue;
        double factor = coef[w->watched_of[v]];
        const double *other = w->inverse + p * wide;
        for (int64_t i = 0; i < wide; i++) line[i] += factor * other[i];
    }
    line[m + slot] -= 1.0;
    value = -w->slot_right[slot];
    for (int64_t k = 0; k <= s; k++) value += coef[k] * w->outgoing[k];
    w->z[place] = value;
    return place;
}

/* The basic place that leaves, -1 where all is feasible; *short_by: how far below (> 0) or above (< 0) its bound. */
static int64_t find_leaving(const walk_t *w, double *short_by) {
    const form_t *f = w->f;
    int64_t wide = f->wide, place = -1;
    double best = 0.0;
    for (int64_t p = 0; p < wide; p++) {
        double below = f->lower[w->basic[p]] - w->z[p], above = w->z[p] - f->upper[w->basic[p]];
        double wrong = below > above ? below : above, weight = 0.0;
        if (!(wrong > FEASIBLE)) continue;
        for (int64_t i = 0; i < wide; i++) weight += w->inverse[p * wide + i] * w->inverse[p * wide + i];
        if (wrong * wrong > best * weight) {
            best = wrong * wrong / weight;
            place = p;
            *short_by = below > above ? below : -above;
        }
    }
    return place;
}

/* The variable that enters, -1 for none. Boxed variables that the dual step passes go to their other bound, and take
 * their range off what the leaving one lacks; z follows. */
static int64_t find_entering(walk_t *w, double sign, double slope) {
    const form_t *f = w->f;
    int64_t count = 0, wide = f->wide, m = f->m, s = f->s;
    int flipped = 0;
    for (int64_t v = 0; v < f->vars; v++) {
        int8_t status = w->status[v];
        if (status == BASIC || !(f->upper[v] > f->lower[v])) continue;
        double gain = -sign * w->row[v], cost = w->reduced[v];
        if (status == UPPER) {
            gain = -gain;
            cost = -cost;
        } else if (status == ZERO) {
            gain = fabs(gain);
            cost = 0.0;
        }
        if (!(gain > PIVOT)) continue;
        w->candidate[count] = v;
        w->rate[count] = gain;
        w->ratio[count++] = cost > 0.0 ? cost / gain : 0.0;
    }
    memset(w->right, 0, (size_t)wide * sizeof(double));
    while (count > 0) {
        double least = INFINITY;
        int64_t best = -1, v;
        for (int64_t c = 0; c < count; c++)
            if (w->ratio[c] < least) least = w->ratio[c];
        double near = least * (1.0 + 1e-9) + 1e-15;
        for (int64_t c = 0; c < count; c++)
            if (w->ratio[c] <= near && (best < 0 || w->rate[c] > w->rate[best])) best = c;
        v = w->candidate[best];
        double taken = w->rate[best] * (f->upper[v] - f->lower[v]);
        if (!(taken < slope)) {
            if (flipped)
                for (int64_t p = 0; p < wide; p++)
                    for (int64_t i = 0; i < wide; i++) w->z[p] -= w->inverse[p * wide + i] * w->right[i];
            return v;
        }
        slope -= taken;
        flipped = 1;
        double change = w->status[v] == LOWER ? f->upper[v] - f->lower[v] : f->lower[v] - f->upper[v];
        w->status[v] = w->status[v] == LOWER ? UPPER : LOWER;
        if (v < f->n) {
            for (int64_t i = 0; i < m; i++) w->right[i] += f->columns[v * m + i] * change;
            if (w->watched_of[v] <= s)
                for (int64_t j = 0; j < s + 2; j++) w->right[m + j] += w->coef[j * (s + 1) + w->watched_of[v]] * change;
        }
        count--;
        w->candidate[best] = w->candidate[count];
        w->rate[best] = w->rate[count];
        w->ratio[best] = w->ratio[count];
    }
    return -1;
}

/* One pivot; 0 where there is none: then the LP has no solution, or numbers have run out. */
WIDE static int pivot_once(walk_t *w, int64_t leaving, double short_by) {
    const form_t *f = w->f;
    int64_t m = f->m, n = f->n, s = f->s, wide = f->wide, entering, out = w->basic[leaving];
    double sign = short_by > 0.0 ? 1.0 : -1.0, *line = w->inverse + leaving * wide, pivot, step, dual, from;
    combine(w, line, w->row);
    entering = find_entering(w, sign, fabs(short_by));
    if (entering < 0) return 0;
    for (int64_t p = 0; p < wide; p++) {
        const double *other = w->inverse + p * wide;
        double total = 0.0;
        if (entering >= n) {
            total = -other[entering - n];
        } else {
            for (int64_t i = 0; i < m; i++) total += other[i] * f->columns[entering * m + i];
            if (w->watched_of[entering] <= s)
                for (int64_t j = 0; j < s + 2; j++)
                    total += other[m + j] * w->coef[j * (s + 1) + w->watched_of[entering]];
        }
        w->column[p] = total;
    }
    pivot = w->column[leaving];
    if (!(fabs(pivot) > 0.5 * PIVOT)) return 0;
    if (!(fabs(pivot - w->row[entering]) <= 1e-6 * (1.0 + fabs(pivot)))) return 0;
    step = (w->z[leaving] - (sign > 0.0 ? f->lower[out] : f->upper[out])) / pivot;
    from = at_rest(f, w->status[entering], entering);
    for (int64_t p = 0; p < wide; p++) w->z[p] -= step * w->column[p];
    w->z[leaving] = from + step;
    dual = w->reduced[entering] / pivot;
    for (int64_t v = 0; v < f->vars; v++) w->reduced[v] -= dual * w->row[v];
    w->reduced[entering] = 0.0;
    w->status[out] = sign > 0.0 ? LOWER : UPPER;
    w->status[entering] = BASIC;
    w->basic[leaving] = entering;
    for (int64_t i = 0; i < wide; i++) line[i] /= pivot;
    for (int64_t p = 0; p < wide; p++) {
        double factor = w->column[p], *other = w->inverse + p * wide;
        if (p == leaving || factor == 0.0) continue;
        for (int64_t i = 0; i < wide; i++) other[i] -= factor * line[i];
    }
    return 1;
}

static void name_tight(const walk_t *w, int64_t *tight) {
    int64_t s = w->f->s, first = w->f->n + w->f->m, count = 0;
    for (int64_t j = 0; j < s + 2; j++) {
        if (w->cuts[j] < 0 || w->status[first + j] == BASIC || count > s) continue;
        int64_t at = count++;
        for (; at > 0 && tight[at - 1] > w->cuts[j]; at--) tight[at] = tight[at - 1];
        tight[at] = w->cuts[j];
    }
    while (count <= s) tight[count++] = -1;
}

static int is_feasible(const walk_t *w) {
    const form_t *f = w->f;
    for (int64_t p = 0; p < f->wide; p++) {
        int64_t v = w->basic[p];
        if (!(w->z[p] >= f->lower[v] - FEASIBLE && w->z[p] <= f->upper[v] + FEASIBLE)) return 0;
    }
    return 1;
}

/* Also whether basic variables cost nothing, as they do unless the basis is ill-conditioned. */
static int is_dual_feasible(const walk_t *w) {
    const form_t *f = w->f;
    for (int64_t v = 0; v < f->vars; v++) {
        int8_t status = w->status[v];
        if (status != BASIC && !(f->upper[v] > f->lower[v])) continue;
        if (status != UPPER && !(w->reduced[v] >= -FEASIBLE)) return 0;
        if (status != LOWER && !(w->reduced[v] <= FEASIBLE)) return 0;
    }
    return 1;
}

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

/* The best kept vertex of each of r pairs, its value, and whether its basis is optimal there; then outgoing, scaled. */
WIDE int64_t cobre_prove(
    const form_t *f, const pool_t *pool, const kept_t *kept, int64_t points, const double *states, int64_t count,
    const int64_t *openings, const int64_t *point, const double *sides, int64_t *vertex, double *value,
    uint8_t *proved, double *outgoing
) {
    int64_t wide = f->wide, s = f->s, k = f->k, size = kept->size;
    walk_t w;
    char *memory = prepare(&w, f, pool);
    double *tilt = malloc((size_t)(points * size + 1) * sizeof(double)), *z;
    if (memory == NULL || tilt == NULL) {
        free(memory);
        free(tilt);
        return -1;
    }
    z = w.right; /* as scratch */
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
        double best = -INFINITY;
        int64_t u = -1;
        for (int64_t i = 0; i < size; i++)
            if (level[i] + line[i] > best) {
                best = level[i] + line[i];
                u = i;
            }
        vertex[r] = u;
        value[r] = best;
        proved[r] = 0;
        if (u < 0) continue;
        int good = 1;
        if (!kept->known[u]) learn(&w, kept, u);
        for (int64_t p = 0; p < wide && good; p++) {
            const double *gain = kept->gain + (u * wide + p) * k;
            double total = kept->base[u * wide + p];
            for (int64_t j = 0; j < k; j++) total += gain[j] * sides[r * k + j];
            z[p] = total;
            good = total >= kept->low[u * wide + p] - FEASIBLE && total <= kept->high[u * wide + p] + FEASIBLE;
        }
        if (!good) continue;
        double *out = outgoing + r * (s + 1);
        for (int64_t j = 0; j <= s; j++) {
            int64_t place = kept->place[u * (s + 1) + j];
            out[j] = place < 0 ? kept->still[u * (s + 1) + j] : z[place];
        }
        proved[r] = most_violated(f, pool, out, NULL, w.heights) < 0;
    }
    free(tilt);
    free(memory);
    return 0;
}

/* Solve r pairs: the rows'th of sides, each from the from'th of the starts; status and tight are the bases they end with.
 * outcome: OPTIMAL, BOUND (most pivots were made; the basis is dual feasible), LOST (nothing else is to be used). */
int64_t cobre_walk(
    const form_t *f, const pool_t *pool, const int8_t *start_status, const int64_t *start_tight, int64_t count,
    const int64_t *from, const int64_t *rows, const double *sides, int64_t most, uint8_t *outcome, int64_t *pivots,
    double *objective, double *outgoing, double *duals, int8_t *status, int64_t *tight
) {
    int64_t m = f->m, n = f->n, s = f->s;
    walk_t w;
    char *memory = prepare(&w, f, pool);
    if (memory == NULL) return -1;
    for (int64_t r = 0; r < count; r++) {
        int8_t *own = status + r * (n + m);
        int64_t *ids = tight + r * (s + 1);
        const double *side = sides + rows[r] * f->k;
        int arrived = 0, lost = 0;
        pivots[r] = 0;
        outcome[r] = LOST;
        if (from[r] < 0 || !take_up(&w, start_status + from[r] * (n + m), start_tight + from[r] * (s + 1))) continue;
        compute(&w, side);
        while (pivots[r] < most) {
            double short_by = 0.0;
            int64_t leaving = find_leaving(&w, &short_by);
            if (leaving < 0) {
                find_outgoing(&w);
                int64_t id = most_violated(f, pool, w.outgoing, w.cuts, w.heights);
                arrived = id < 0;
                if (arrived) break;
                leaving = enter_cut(&w, id);
                lost = leaving < 0;
                if (lost) break;
                short_by = -w.z[leaving];
            }
            pivots[r]++;
            lost = !pivot_once(&w, leaving, short_by);
            if (lost) break;
        }
        if (lost) continue;
        memcpy(own, w.status, (size_t)(n + m));
        for (int64_t v = 0; v < n + m; v++)
            if (own[v] == UPPER && !(f->upper[v] > f->lower[v])) own[v] = LOWER;
        name_tight(&w, ids);
        if (!take_up(&w, own, ids)) continue;
        compute(&w, side);
        if (!is_dual_feasible(&w)) continue;
        find_outgoing(&w);
        if (arrived && !(is_feasible(&w) && most_violated(f, pool, w.outgoing, w.cuts, w.heights) < 0)) continue;
        outcome[r] = arrived ? OPTIMAL : BOUND;
        double total = 0.0;
        for (int64_t v = 0; v < n; v++)
            if (w.status[v] != BASIC) total += f->cost[v] * at_rest(f, w.status[v], v);
        for (int64_t i = 0; i < f->wide; i++) total += w.y[i] * w.right[i];
        objective[r] = total;
        memcpy(outgoing + r * (s + 1), w.outgoing, (size_t)(s + 1) * sizeof(double));
        memcpy(duals + r * m, w.y, (size_t)m * sizeof(double));
    }
    free(memory);
    return 0;
}
