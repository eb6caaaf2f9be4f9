/* Kept dual vertices: what each gives, whether its basis is optimal, where it is, and where new ones go.
 *
 * See cobre/sddp/vertices.py for what the arrays mean; room is how many there is space for.
 */
#ifndef COBRE_KERNEL_KEPT_H
#define COBRE_KERNEL_KEPT_H

#include "kernel_basis.h"

#define BROUGHT 256 /* numbers: larger records are learned where somebody asks for them */

typedef struct {
    int64_t size, room;
    int64_t records; /* that there is space for */
    int64_t spare;   /* those that nothing is in yet */
    int64_t buckets;
    double *levels; /* openings x room */
    double *slopes; /* s x room */
    int8_t *status; /* room x (n + m) */
    int64_t *tight; /* room x (s + 1) */
    int64_t *last_used; /* room */
    int64_t *record; /* room: where that of each is, 0 while it has none */
    int64_t *spares; /* where the spare ones are */
    int64_t *bucket; /* a power of two: places by the hash of their bases, -1 for none */
} kept_t;


/* Of a vertex that nobody brought it with, when it is first asked for. */
static record_t learn(walk_t *w, kept_t *kept, int64_t u) {
    const form_t *f = w->f;
    if (kept->record[u] == 0) {
        kept->record[u] = kept->spares[--kept->spare];
        record_t r = record_at(f, (double *)(intptr_t)kept->record[u]);
        if (!take_up(w, kept->status + u * (f->n + f->m), kept->tight + u * (f->s + 1))) {
            for (int64_t p = 0; p < f->wide; p++) r.base[p] = NAN;
            return r;
        }
        compute(w, NULL);
        write_record(w, r);
        if (!is_dual_feasible(w)) r.base[0] = NAN;
    }
    return record_at(f, (double *)(intptr_t)kept->record[u]);
}

/* z: the basic variables at these right-hand sides. Returns how many are out of bounds. */
WIDE static int64_t out_of_bounds(const form_t *f, const record_t *r, const double *sides, double *z) {
    int64_t wide = f->wide, bad = 0;
    memcpy(z, r->base, (size_t)wide * sizeof(double));
    for (int64_t j = 0; j < f->k; j++) {
        const double *gain = r->gain + j * wide;
        double side = sides[j];
        for (int64_t p = 0; p < wide; p++) z[p] += gain[p] * side;
    }
    for (int64_t p = 0; p < wide; p++) bad += !((z[p] >= r->low[p] - FEASIBLE) & (z[p] <= r->high[p] + FEASIBLE));
    return bad;
}

/* Whether kept basis u is optimal at these right-hand sides; then outgoing, scaled. bad: basic variables out of bounds. */
static int kept_proves(walk_t *w, kept_t *kept, int64_t u, const double *sides, double *outgoing, int64_t *bad) {
    const form_t *f = w->f;
    int64_t s = f->s;
    double *z = w->right; /* as scratch */
    record_t r = learn(w, kept, u);
    *bad = out_of_bounds(f, &r, sides, z);
    if (*bad) return 0;
    for (int64_t j = 0; j <= s; j++) outgoing[j] = r.place[j] < 0 ? r.still[j] : z[r.place[j]];
    return most_violated(w, outgoing, NULL) < 0;
}

static uint64_t mix(uint64_t hash, const void *at, size_t bytes) {
    uint64_t word = 0;
    memcpy(&word, at, bytes);
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

/* The bucket of a basis: that of its place, or the empty one where it would be. */
static int64_t *bucket_of(const form_t *f, const kept_t *kept, const int8_t *status, const int64_t *tight) {
    int64_t length = f->n + f->m, cuts = f->s + 1, i = 0;
    uint64_t hash = 0, mask = (uint64_t)kept->buckets - 1;
    for (; i + 8 <= length; i += 8) hash = mix(hash, status + i, 8);
    if (i < length) hash = mix(hash, status + i, (size_t)(length - i));
    for (int64_t j = 0; j < cuts; j++) hash = mix(hash, tight + j, 8);
    for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
        int64_t u = kept->bucket[at];
        if (u < 0) return kept->bucket + at;
        if (memcmp(kept->status + u * length, status, (size_t)length)) continue;
        if (memcmp(kept->tight + u * cuts, tight, (size_t)cuts * sizeof(int64_t))) continue;
        return kept->bucket + at;
    }
}

/* Whether vertices come with their records. Writing one, passing it on and keeping it costs what its size does, learning it
 * more, but a quarter to two thirds of them only are ever asked for; and what nobody has touched is no memory. */
static int brings_records(const form_t *f, const kept_t *kept) { return kept->records > 0 && record_size(f) <= BROUGHT; }

/* Numbers in a row that says all of a vertex: its constant, multipliers, slopes, tight cuts, statuses eight to a number;
 * where vertices come with their records, whether this one does, 1 or 0, and that. */
static int64_t packed_width(const form_t *f, const kept_t *kept) {
    int64_t width = 1 + f->r + f->s + f->s + 1 + (f->n + f->m + 7) / 8;
    return brings_records(f, kept) ? width + 1 + record_size(f) : width;
}

/* Keep the vertex of such a row, where its basis is not kept yet; its place. There must be room. */
static int64_t keep_one(const form_t *f, kept_t *kept, const double *row) {
    int64_t u = kept->size, room = kept->room, length = f->n + f->m, s = f->s;
    const double *multipliers = row + 1, *slopes = multipliers + f->r, *cuts = slopes + s;
    for (int64_t j = 0; j <= s; j++) kept->tight[u * (s + 1) + j] = (int64_t)cuts[j];
    memcpy(kept->status + u * length, cuts + s + 1, (size_t)length);
    int64_t *bucket = bucket_of(f, kept, kept->status + u * length, kept->tight + u * (s + 1));
    if (*bucket >= 0) return *bucket;
    *bucket = u;
    kept->size++;
    kept->record[u] = 0;
    for (int64_t o = 0; o < f->openings; o++) {
        double level = row[0];
        for (int64_t r = 0; r < f->r; r++) level += f->noise[o * f->r + r] * multipliers[r];
        kept->levels[o * room + u] = level;
    }
    for (int64_t j = 0; j < s; j++) kept->slopes[j * room + u] = slopes[j];
    const double *record = cuts + s + 1 + (length + 7) / 8;
    if (brings_records(f, kept) && *record != 0.0) {
        kept->record[u] = kept->spares[--kept->spare];
        memcpy((void *)(intptr_t)kept->record[u], record + 1, (size_t)record_size(f) * sizeof(double));
    }
    return u;
}

#endif
