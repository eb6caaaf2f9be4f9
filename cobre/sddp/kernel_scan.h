/* Looks at many numbers of which few matter: cuts at a state, and kept vertices at a pair. Sums run in the order of the
 * states, as everywhere; which numbers are looked at together changes none of them. */
#ifndef COBRE_KERNEL_SCAN_H
#define COBRE_KERNEL_SCAN_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Wider registers where the processor has them: loops over elements only, whose bits do not depend on the width. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

enum { LANES = 16, FOURS = LANES / 4 };

/* Four numbers at once; compilers that have no such registers take them apart. */
typedef double four_t __attribute__((vector_size(32), aligned(8), may_alias));
typedef int64_t mask_t __attribute__((vector_size(32)));

/* Of cuts, the highest at a state among those above limit, -1 for none; those in out (-1: no cut) do not count. shown:
 * intercepts; by_state: slopes, those of each state's room places apart. */
WIDE static int64_t highest_above(
    const double *shown, const double *by_state, int64_t room, int64_t size, int64_t s, const double *state,
    const int64_t *out, int64_t outs, double limit
) {
    int64_t highest = -1;
    for (int64_t first = 0; first < size; first += LANES) {
        double height[LANES];
        int64_t count = size - first < LANES ? size - first : LANES;
        if (count == LANES) {
            const four_t most = {limit, limit, limit, limit};
            const four_t *shown_at = (const four_t *)(shown + first);
            four_t h[FOURS] = {shown_at[0], shown_at[1], shown_at[2], shown_at[3]};
            for (int64_t j = 0; j < s; j++) {
                const four_t x = {state[j], state[j], state[j], state[j]};
                const four_t *slopes = (const four_t *)(by_state + j * room + first);
                for (int i = 0; i < FOURS; i++) h[i] += x * slopes[i];
            }
            mask_t above = (h[0] > most) | (h[1] > most) | (h[2] > most) | (h[3] > most);
            if (!(above[0] | above[1] | above[2] | above[3])) continue;
            memcpy(height, h, sizeof h);
        } else {
            for (int64_t l = 0; l < count; l++) {
                height[l] = shown[first + l];
                for (int64_t j = 0; j < s; j++) height[l] += state[j] * by_state[j * room + first + l];
            }
        }
        for (int64_t l = 0; l < count; l++) {
            int counts = height[l] > limit;
            for (int64_t j = 0; j < outs && counts; j++) counts = out[j] != first + l;
            if (!counts) continue;
            limit = height[l];
            highest = first + l;
        }
    }
    return highest;
}

/* sums: level + line. tops: the largest of each LANES of them. Returns where the first of the largest is, -1 for none. */
WIDE static int64_t add_and_find(
    const double *level, const double *line, int64_t size, double *sums, double *tops, double *largest
) {
    int64_t at = -1;
    *largest = -INFINITY;
    for (int64_t first = 0; first < size; first += LANES) {
        int64_t count = size - first < LANES ? size - first : LANES;
        double top = -INFINITY;
        if (count == LANES) {
            const four_t *a = (const four_t *)(level + first), *b = (const four_t *)(line + first);
            four_t *sum = (four_t *)(sums + first), most = a[0] + b[0];
            sum[0] = most;
            for (int i = 1; i < FOURS; i++) {
                const four_t next = a[i] + b[i];
                const mask_t more = next > most;
                sum[i] = next;
                most = (four_t)((more & (mask_t)next) | (~more & (mask_t)most));
            }
            for (int l = 0; l < 4; l++)
                if (most[l] > top) top = most[l];
        } else {
            for (int64_t i = first; i < first + count; i++) {
                sums[i] = level[i] + line[i];
                if (sums[i] > top) top = sums[i];
            }
        }
        tops[first / LANES] = top;
        if (!(top > *largest)) continue;
        *largest = top;
        at = first;
    }
    while (at >= 0 && sums[at] != *largest) at++;
    return at;
}

#endif
