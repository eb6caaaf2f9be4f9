/* From solutions to kept vertices, and from kept vertices to the numbers of a cut. */
#ifndef COBRE_KERNEL_VERTICES_H
#define COBRE_KERNEL_VERTICES_H

#include "kernel_prove.h"
#include "kernel_walk.h"

enum { FRESH = -1, NONE = -2 }; /* instead of a place; NONE - d: that of the d-th FRESH one before it */

/* The vertex that a solution is at, as a row. */
static void pack(
    const form_t *f, const kept_t *kept, const walked_t *found, int64_t i, int64_t opening, const double *state,
    double *row
) {
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
    if (!brings_records(f, kept)) return;
    double *record = cuts + f->s + 1 + (f->n + f->m + 7) / 8;
    size_t bytes = (size_t)record_size(f) * sizeof(double);
    *record = found->records != NULL ? 1.0 : 0.0;
    if (found->records != NULL)
        memcpy(record + 1, found->records + i * record_size(f), bytes);
    else
        memset(record + 1, 0, bytes);
}

/* What the pairs that were solved, the rows'th, came to, told to all: the place of their vertex, or FRESH, with rows of
 * packed in their order. Returns how many of these, -1 without memory. */
int64_t cobre_name(
    const form_t *f, const kept_t *kept, int64_t count, const int64_t *rows, const int64_t *openings,
    const int64_t *point, const double *states, const walked_t *found, double *told, int64_t stride, double *packed
) {
    int64_t fresh = 0, *so_far = malloc((size_t)(count + 1) * sizeof(int64_t)), width = packed_width(f, kept);
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
                pack(f, kept, found, i, openings[rows[i]], states + point[rows[i]] * f->s, packed + fresh++ * width);
            }
        }
        so_far[i] = fresh;
        told[rows[i] * stride] = (double)code;
    }
    free(so_far);
    return fresh;
}

/* cobre_keep; rows: where each of the new ones is, or NULL: they are packed. */
static int64_t keep_all(
    const form_t *f, kept_t *kept, int64_t points, const double *told, int64_t stride, int64_t u, const double *packed,
    const double *const *rows, const int64_t *turn, int64_t iteration, int64_t *places
) {
    int64_t count = points * f->openings, fresh = 0, width = packed_width(f, kept);
    int64_t *memory = malloc((size_t)(u + count + 1) * sizeof(int64_t)), *kept_at = memory, *told_at = memory + u;
    if (memory == NULL) return -1;
    for (int64_t i = 0; i < u; i++) {
        kept_at[i] = keep_one(f, kept, rows != NULL ? rows[i] : packed + i * width);
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

/* Keep the u vertices that were told as FRESH; places (points x openings): of the vertices of all pairs, told unit after
 * unit in the order that turn (of each opening) gives. Returns how many vertices there are, -1 without memory. */
int64_t cobre_keep(
    const form_t *f, kept_t *kept, int64_t points, const double *told, int64_t stride, int64_t u, const double *packed,
    const int64_t *turn, int64_t iteration, int64_t *places
) {
    return keep_all(f, kept, points, told, stride, u, packed, NULL, turn, iteration, places);
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

/* Find all that are kept by their bases anew. */
int64_t cobre_index(const form_t *f, kept_t *kept) {
    for (int64_t i = 0; i < kept->buckets; i++) kept->bucket[i] = -1;
    for (int64_t u = 0; u < kept->size; u++)
        *bucket_of(f, kept, kept->status + u * (f->n + f->m), kept->tight + u * (f->s + 1)) = u;
    return 0;
}

/* Which ones to keep: so many that were used last, of equals the newest. chosen: size. -1 without memory. */
static int64_t choose(const kept_t *kept, int64_t most, uint8_t *chosen) {
    int64_t first = INT64_MAX, last = INT64_MIN, left = most;
    for (int64_t u = 0; u < kept->size; u++) {
        if (kept->last_used[u] < first) first = kept->last_used[u];
        if (kept->last_used[u] > last) last = kept->last_used[u];
    }
    int64_t *used = calloc((size_t)(last - first + 1), sizeof(int64_t)), least = last;
    if (used == NULL) return -1;
    for (int64_t u = 0; u < kept->size; u++) used[kept->last_used[u] - first]++;
    while (left > used[least - first]) left -= used[least-- - first];
    free(used);
    for (int64_t u = kept->size - 1; u >= 0; u--)
        chosen[u] = kept->last_used[u] > least || (kept->last_used[u] == least && left-- > 0);
    return 0;
}

static void move_rows(void *at, const int64_t *from, int64_t count, int64_t bytes) {
    for (int64_t i = 0; i < count; i++)
        if (from[i] != i) memcpy((char *)at + i * bytes, (char *)at + from[i] * bytes, (size_t)bytes);
}

static void move_columns(double *at, const int64_t *from, int64_t count, int64_t rows, int64_t room) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < count; i++) at[r * room + i] = at[r * room + from[i]];
}

/* Keep only so many, fewer than there are, of those that were used last. Returns how many, -1 without memory. */
int64_t cobre_evict(const form_t *f, kept_t *kept, int64_t most) {
    int64_t *from = malloc((size_t)kept->size * sizeof(int64_t)), count = 0, d = (int64_t)sizeof(double);
    uint8_t *chosen = malloc((size_t)kept->size);
    if (from == NULL || chosen == NULL || choose(kept, most, chosen) < 0) {
        free(from);
        free(chosen);
        return -1;
    }
    for (int64_t u = 0; u < kept->size; u++) {
        if (chosen[u])
            from[count++] = u;
        else if (kept->record[u] != 0)
            kept->spares[kept->spare++] = kept->record[u];
    }
    move_columns(kept->levels, from, count, f->openings, kept->room);
    move_columns(kept->slopes, from, count, f->s, kept->room);
    move_rows(kept->status, from, count, f->n + f->m);
    move_rows(kept->tight, from, count, (f->s + 1) * d);
    move_rows(kept->last_used, from, count, d);
    move_rows(kept->record, from, count, d);
    kept->size = count;
    free(from);
    free(chosen);
    cobre_index(f, kept);
    return count;
}

#endif
