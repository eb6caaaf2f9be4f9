/* The dual simplex method on a basis, cuts found as they are violated.
 *
 * A basis begins dual feasible and stays so; what comes out is computed anew from its list of basic variables, never
 * from what many pivots left behind. Koberstein, The dual simplex method, techniques for a fast and stable
 * implementation, 2005: steepest edge pricing (section 3.3), bound flipping ratio test (3.2.2); its tolerance is Harris's,
 * Pivot selection methods of the Devex LP code, 1973.
 */
#ifndef COBRE_KERNEL_PIVOTS_H
#define COBRE_KERNEL_PIVOTS_H

#include "kernel_basis.h"

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
WIDE static int64_t find_leaving(const walk_t *w, double *short_by) {
    const form_t *f = w->f;
    int64_t wide = f->wide, place = -1;
    double best = 0.0;
    for (int64_t p = 0; p < wide; p++) {
        double below = f->lower[w->basic[p]] - w->z[p], above = w->z[p] - f->upper[w->basic[p]];
        double wrong = below > above ? below : above;
        if (!(wrong > FEASIBLE)) continue;
        double weight = dot(w->inverse + p * wide, w->inverse + p * wide, wide);
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
        for (int64_t c = 0; c < count; c++) {
            double most = w->ratio[c] + HARRIS / w->rate[c];
            if (most < least) least = most;
        }
        for (int64_t c = 0; c < count; c++)
            if (w->ratio[c] <= least && (best < 0 || w->rate[c] > w->rate[best])) best = c;
        v = w->candidate[best];
        double taken = w->rate[best] * (f->upper[v] - f->lower[v]);
        if (!(taken < slope)) {
            if (flipped)
                for (int64_t p = 0; p < wide; p++)
                    w->z[p] -= dot(w->inverse + p * wide, w->right, wide);
            return v;
        }
        slope -= taken;
        flipped = 1;
        double change = w->status[v] == LOWER ? f->upper[v] - f->lower[v] : f->lower[v] - f->upper[v];
        w->status[v] = w->status[v] == LOWER ? UPPER : LOWER;
        if (v < f->n) {
            for (int64_t e = f->by_column[v]; e < f->by_column[v + 1]; e++)
                w->right[f->by_column_row[e]] += f->by_column_value[e] * change;
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
            for (int64_t e = f->by_column[entering]; e < f->by_column[entering + 1]; e++)
                total += other[f->by_column_row[e]] * f->by_column_value[e];
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

/* The dual simplex method from the basis that w holds; whether it came to the optimum, or LOST. */
static int walk(walk_t *w, int64_t most, int64_t *pivots) {
    while (*pivots < most) {
        double short_by = 0.0;
        int64_t leaving = find_leaving(w, &short_by);
        if (leaving < 0) {
            find_outgoing(w);
            int64_t id = most_violated(w, w->outgoing, w->cuts);
            if (id < 0) return OPTIMAL;
            leaving = enter_cut(w, id);
            if (leaving < 0) return LOST;
            short_by = -w->z[leaving];
        }
        ++*pivots;
        if (!pivot_once(w, leaving, short_by)) return LOST;
    }
    return BOUND;
}

/* The basis that w has come to, taken up anew so that nothing is left of the way there. LOST where it is none. */
static int settle(walk_t *w, int came_to, const double *side, int8_t *status, int64_t *tight) {
    const form_t *f = w->f;
    int64_t columns = f->n + f->m;
    memcpy(status, w->status, (size_t)columns);
    for (int64_t v = 0; v < columns; v++)
        if (status[v] == UPPER && !(f->upper[v] > f->lower[v])) status[v] = LOWER;
    name_tight(w, tight);
    if (!take_up(w, status, tight)) return LOST;
    compute(w, side);
    if (!is_dual_feasible(w)) return LOST;
    find_outgoing(w);
    if (came_to != OPTIMAL) return came_to;
    return is_feasible(w) && most_violated(w, w->outgoing, w->cuts) < 0 ? OPTIMAL : LOST;
}

static double objective_of(const walk_t *w) {
    const form_t *f = w->f;
    double total = 0.0;
    for (int64_t v = 0; v < f->n; v++)
        if (w->status[v] != BASIC) total += f->cost[v] * at_rest(f, w->status[v], v);
    for (int64_t i = 0; i < f->wide; i++) total += w->y[i] * w->right[i];
    return total;
}

#endif
