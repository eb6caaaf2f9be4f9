/* Small LPs and their bases: a dense inverse, what it gives for right-hand sides, and the cut that a solution violates.
 *
 * A basis is computed from its list of basic variables alone. Cuts are rows only while they matter: s + 2 slots hold
 * those that are tight, and one more, which a solution violates. Sums run in a fixed order, and are not to be contracted
 * (-ffp-contract=off), so that a pair's bits depend on nothing but the pair.
 */
#ifndef COBRE_KERNEL_BASIS_H
#define COBRE_KERNEL_BASIS_H
#include <stdlib.h>

#include "kernel_scan.h"

enum { LOWER = 0, BASIC = 1, UPPER = 2, ZERO = 3 };
enum { OPTIMAL = 0, BOUND = 1, LOST = 2, SAME = 3 };

#define FEASIBLE 1e-9 /* of a scaled variable or reduced cost: HiGHS's own tolerance here */
#define VIOLATED 1e-10 /* of a cut, relative to max(1, |cost-to-go|) */
#define PIVOT 1e-9 /* an entry of the pivot row below this is no pivot, and may make a reduced cost that little wrong */
#define HARRIS 3e-10 /* by so much may a reduced cost be wrong where that allows a larger pivot */
#define ALIKE 1e-9 /* values of vertices, relative, that may be those of one vertex's many bases */
#define TRIES 16 /* of them */
#define OWN 16 /* bases that a unit of work remembers */
#define SINGULAR 1e-11 /* of a basis's matrix, relative to its largest entry */

typedef struct {
    int64_t m, n, s, k, wide, vars;
    const int64_t *by_column, *by_column_row; /* n + 1: where the entries of each column begin; their rows */
    const double *by_column_value;
    const double *lower, *upper; /* vars */
    const double *cost; /* n */
    const double *rhs; /* m */
    const int64_t *moving; /* k */
    const int64_t *watched; /* s + 1 */
    const double *cut_scale; /* s */
    const double *watched_scale; /* s + 1 */
    double intercept_scale, cost_scale;
    /* what openings and incoming states do */
    int64_t openings, r;
    const double *openings_sides; /* openings x k, scaled */
    const double *noise; /* openings x r, as given */
    const int64_t *noise_rows; /* r */
    const double *dual_scale; /* m */
    const double *incoming_cost; /* s */
    const int64_t *by_side, *by_side_state; /* k + 1: where the entries of each begin; their states */
    const double *by_side_value; /* scaled */
    const int64_t *by_state, *by_state_row; /* s + 1; rows */
    const double *by_state_value;
    const double *probability; /* openings */
    const double *least, *most; /* s: of outgoing states */
    double discount;
} form_t;

typedef struct {
    int64_t size, room;
    double *slopes; /* room x s */
    double *by_state; /* s x room */
    double *intercepts; /* room */
    double *shown; /* room: intercepts, -inf where a cut is not active */
    int64_t *times_active, *last_active, *iterations; /* room */
    uint8_t *active; /* room */
} pool_t;

typedef struct {
    const form_t *f;
    const pool_t *pool;
    int64_t *basic; /* wide */
    int8_t *status; /* vars */
    int64_t *cuts; /* s + 2 */
    double *coef; /* (s + 2) x (s + 1) */
    double *slot_right; /* s + 2 */
    double *inverse; /* wide x wide */
    double *matrix; /* wide x columns, scratch */
    int64_t columns, *column_at; /* basic ones that are no slacks: how many, and where each stands among the basic ones */
    double *z, *y, *right, *column; /* wide */
    double *still; /* wide: right without the right-hand sides that move */
    double *reduced, *row; /* vars */
    double *outgoing; /* s + 1, scaled */
    double *state; /* s: an outgoing one, not scaled */
    double *ratio, *rate; /* vars, of candidates */
    int64_t *candidate; /* vars */
    int64_t *watched_of; /* n, s + 1 for none */
    int64_t *row_of, *used; /* wide, while a matrix is inverted */
} walk_t;

/* The next so many bytes of a block that begins somewhere, or at 0 to learn how many bytes it needs. */
static void *take(uintptr_t *at, int64_t bytes) {
    uintptr_t found = *at;
    *at += (uintptr_t)((bytes + 63) / 64 * 64);
    return (void *)found;
}

static uintptr_t lay_out(walk_t *w, const form_t *f, const pool_t *pool, uintptr_t at) {
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
    w->still = take(&at, wide * d);
    w->reduced = take(&at, f->vars * d);
    w->row = take(&at, f->vars * d);
    w->outgoing = take(&at, (f->s + 1) * d);
    w->state = take(&at, f->s * d);
    w->ratio = take(&at, f->vars * d);
    w->rate = take(&at, f->vars * d);
    w->candidate = take(&at, f->vars * d);
    w->watched_of = take(&at, f->n * d);
    w->row_of = take(&at, wide * d);
    w->column_at = take(&at, wide * d);
    w->used = take(&at, wide * d);
    return at;
}

static char *prepare(walk_t *w, const form_t *f, const pool_t *pool) {
    char *memory = malloc((size_t)lay_out(w, f, pool, 0) + 64);
    if (memory == NULL) return NULL;
    lay_out(w, f, pool, ((uintptr_t)memory + 63) / 64 * 64);
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

/* Sums of products in a fixed order that leaves room for wide registers. */
static inline double dot(const double *a, const double *b, int64_t count) {
    double sums[4] = {0.0, 0.0, 0.0, 0.0};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int64_t lane = 0; lane < 4; lane++) sums[lane] += a[i + lane] * b[i + lane];
    for (; i < count; i++) sums[i & 3] += a[i] * b[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* Exchange a column of w->matrix for the row with its largest entry of those that are left. 0 where there is none. */
WIDE static int exchange(walk_t *w, int64_t c, double least) {
    int64_t wide = w->f->wide, columns = w->columns, count = 0, *at = w->candidate, r = -1;
    double *a = w->matrix, most = least;
    for (int64_t i = 0; i < wide; i++) {
        double entry = fabs(a[i * columns + c]);
        if (entry == 0.0) continue;
        at[count++] = i;
        if (!w->used[i] && entry > most) {
            most = entry;
            r = i;
        }
    }
    if (r < 0) return 0;
    w->row_of[w->column_at[c]] = r;
    w->used[r] = 1;
    double *line = a + r * columns, pivot = 1.0 / line[c];
    line[c] = 1.0;
    for (int64_t j = 0; j < columns; j++) line[j] *= pivot;
    for (int64_t e = 0; e < count; e++) {
        double *other = a + at[e] * columns, factor = other[c];
        if (at[e] == r) continue;
        other[c] = 0.0;
        for (int64_t j = 0; j < columns; j++) other[j] -= factor * line[j];
    }
    return 1;
}

/* When a basic variable's column is exchanged: those with few entries first, for they fill no others. */
static int turn_of(const walk_t *w, int64_t v) {
    const form_t *f = w->f;
    if (v >= f->n) return 0;
    if (w->watched_of[v] <= f->s) return 3;
    return f->by_column[v + 1] - f->by_column[v] == 1 ? 1 : 2;
}

/* All columns exchanged for rows, w->matrix is the inverse, its rows and columns in another order (Stiefel, Einfuehrung in
 * die numerische Mathematik, 1961, section 1.3). The column of a slack has nothing but -1, in its own row, and has that still
 * when all are exchanged: w->matrix has the others only. largest: of its entries. 0 where it is singular. */
static int invert(walk_t *w, double largest) {
    int64_t wide = w->f->wide, n = w->f->n, columns = w->columns;
    double *a = w->matrix, least = SINGULAR * largest;
    memset(w->used, 0, (size_t)wide * sizeof(int64_t));
    for (int64_t c = 0; c < wide; c++) {
        int64_t r = w->basic[c] - n;
        if (r < 0) continue;
        w->row_of[c] = r;
        w->used[r] = 1;
        for (int64_t j = 0; j < columns; j++) a[r * columns + j] = -a[r * columns + j];
    }
    for (int turn = 1; turn <= 3; turn++)
        for (int64_t c = 0; c < columns; c++)
            if (turn_of(w, w->basic[w->column_at[c]]) == turn && !exchange(w, c, least)) return 0;
    memset(w->inverse, 0, (size_t)(wide * wide) * sizeof(double));
    for (int64_t c = 0; c < wide; c++) {
        const double *from = a + w->row_of[c] * columns;
        double *line = w->inverse + c * wide;
        for (int64_t j = 0; j < columns; j++) line[w->row_of[w->column_at[j]]] = from[j];
        if (w->basic[c] >= n) line[w->row_of[c]] = -1.0;
    }
    return 1;
}

/* Take up a basis: its variables in rising order, its tight cuts in the first slots. 0 where it is none. */
static int take_up(walk_t *w, const int8_t *status, const int64_t *tight) {
    const form_t *f = w->f;
    int64_t m = f->m, n = f->n, s = f->s, wide = f->wide, found = 0;
    double largest = 1.0; /* that of slacks */
    memcpy(w->status, status, (size_t)(n + m));
    for (int64_t j = 0; j < s + 2; j++) {
        w->cuts[j] = j <= s ? tight[j] : -1;
        if (w->cuts[j] >= w->pool->size) return 0;
        w->status[n + m + j] = w->cuts[j] >= 0 ? LOWER : BASIC;
        slot_row(f, w->pool, w->cuts[j], w->coef + j * (s + 1), w->slot_right + j);
    }
    w->columns = 0;
    for (int64_t v = 0; v < f->vars; v++) {
        if (w->status[v] != BASIC) continue;
        if (found == wide) return 0;
        if (v < n) w->column_at[w->columns++] = found;
        w->basic[found++] = v;
    }
    if (found != wide) return 0;
    int64_t columns = w->columns;
    memset(w->matrix, 0, (size_t)(wide * columns) * sizeof(double));
    for (int64_t c = 0; c < columns; c++) {
        int64_t v = w->basic[w->column_at[c]];
        for (int64_t e = f->by_column[v]; e < f->by_column[v + 1]; e++) {
            double entry = f->by_column_value[e];
            w->matrix[f->by_column_row[e] * columns + c] = entry;
            if (fabs(entry) > largest) largest = fabs(entry);
        }
        if (w->watched_of[v] > s) continue;
        for (int64_t j = 0; j < s + 2; j++) {
            double entry = w->coef[j * (s + 1) + w->watched_of[v]];
            w->matrix[(m + j) * columns + c] = entry;
            if (fabs(entry) > largest) largest = fabs(entry);
        }
    }
    return invert(w, largest);
}

/* row = combination of all rows, slots' and slacks' entries included. */
static void combine(const walk_t *w, const double *weights, double *row) {
    const form_t *f = w->f;
    int64_t m = f->m, n = f->n, s = f->s;
    for (int64_t v = 0; v < n; v++) {
        double total = 0.0;
        for (int64_t e = f->by_column[v]; e < f->by_column[v + 1]; e++)
            total += weights[f->by_column_row[e]] * f->by_column_value[e];
        row[v] = total;
    }
    for (int64_t j = 0; j < s + 2; j++) {
        double weight = weights[m + j];
        if (weight == 0.0) continue;
        for (int64_t k = 0; k <= s; k++) row[f->watched[k]] += weight * w->coef[j * (s + 1) + k];
    }
    for (int64_t i = 0; i < f->wide; i++) row[n + i] = -weights[i];
}

/* z, y and reduced costs from the inverse; sides: k right-hand sides, or NULL where they are left out. */
WIDE static void compute(walk_t *w, const double *sides) {
    const form_t *f = w->f;
    int64_t m = f->m, n = f->n, s = f->s, wide = f->wide;
    memcpy(w->right, f->rhs, (size_t)m * sizeof(double));
    memcpy(w->right + m, w->slot_right, (size_t)(s + 2) * sizeof(double));
    for (int64_t v = 0; v < n; v++) {
        double x = w->status[v] == BASIC ? 0.0 : at_rest(f, w->status[v], v);
        if (x == 0.0) continue;
        for (int64_t e = f->by_column[v]; e < f->by_column[v + 1]; e++)
            w->right[f->by_column_row[e]] -= f->by_column_value[e] * x;
        if (w->watched_of[v] > s) continue;
        for (int64_t j = 0; j < s + 2; j++) w->right[m + j] -= w->coef[j * (s + 1) + w->watched_of[v]] * x;
    }
    memcpy(w->still, w->right, (size_t)wide * sizeof(double));
    if (sides != NULL)
        for (int64_t k = 0; k < f->k; k++) w->right[f->moving[k]] += sides[k];
    memset(w->y, 0, (size_t)wide * sizeof(double));
    for (int64_t p = 0; p < wide; p++) {
        const double *line = w->inverse + p * wide;
        double cost = w->basic[p] < n ? f->cost[w->basic[p]] : 0.0;
        w->z[p] = dot(line, w->right, wide);
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

/* The cut that a solution (scaled, s + 1) violates most, of those that are not in cuts (s + 2, or NULL); -1 for none. */
static int64_t most_violated(const walk_t *w, const double *outgoing, const int64_t *cuts) {
    const form_t *f = w->f;
    const pool_t *pool = w->pool;
    double cost_to_go = outgoing[f->s] * f->watched_scale[f->s], limit = cost_to_go + allowed(f, cost_to_go);
    for (int64_t j = 0; j < f->s; j++) w->state[j] = outgoing[j] * f->watched_scale[j];
    return highest_above(
        pool->shown, pool->by_state, pool->room, pool->size, f->s, w->state, cuts, cuts == NULL ? 0 : f->s + 2, limit
    );
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

/* What a basis is for any right-hand side: its basic variables as affine functions of those that move. */
typedef struct {
    double *base, *low, *high; /* wide; NaN in base for a basis that proves nothing */
    double *gain; /* k x wide */
    double *still; /* s + 1: where a watched column is that is not basic */
    int64_t *place; /* s + 1: of each watched column among the basic ones, or -1 */
} record_t;

static int64_t record_size(const form_t *f) { return f->wide * (3 + f->k) + 2 * (f->s + 1); }

static record_t record_at(const form_t *f, double *at) {
    record_t r;
    r.base = at;
    r.low = at + f->wide;
    r.high = at + 2 * f->wide;
    r.gain = at + 3 * f->wide;
    r.still = r.gain + f->wide * f->k;
    r.place = (int64_t *)(r.still + f->s + 1);
    return r;
}

/* Of the basis that w has taken up and computed. */
static void write_record(const walk_t *w, record_t r) {
    const form_t *f = w->f;
    int64_t wide = f->wide;
    for (int64_t p = 0; p < wide; p++) {
        const double *line = w->inverse + p * wide;
        r.base[p] = dot(line, w->still, wide);
        r.low[p] = f->lower[w->basic[p]];
        r.high[p] = f->upper[w->basic[p]];
        for (int64_t j = 0; j < f->k; j++) r.gain[j * wide + p] = line[f->moving[j]];
    }
    for (int64_t j = 0; j <= f->s; j++) {
        int64_t v = f->watched[j];
        r.place[j] = -1;
        r.still[j] = w->status[v] == BASIC ? 0.0 : at_rest(f, w->status[v], v);
        for (int64_t p = 0; p < wide; p++)
            if (w->basic[p] == v) r.place[j] = p;
    }
}

#endif
