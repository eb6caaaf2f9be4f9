/* An exchange of equal parts over shared memory, for compiled loops that cannot spend a call of Python on each: what
 * cobre/transport/shm.py does in allgatherv and cobre/transport/meetings.py in arrive, as long as nobody is late. Who has to
 * wait long, be woken or give up does that in Python. See cobre/transport/control.py for the words. */
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define COUNTER UINT64_C(0xFFFFFF)
#define ASLEEP (UINT64_C(1) << 60)

enum { HERE, LATE, LARGE };

/* A word of claims: the collective that they come after, in the upper 24 bits, and how many units of work are taken from the
 * front and from the back. */
enum { TAKEN = 20 };
#define TAKEN_BITS ((UINT64_C(1) << TAKEN) - 1)

/* sequence: of the latest collective. signature: 32 bits that no other collective has. part: what this rank brings is put
 * there, for the others to read. waiting: this rank has arrived, but not all others; woken: Python has seen to sleepers. */
typedef struct {
    uint64_t sequence, word, signature;
    int64_t rank, size, half, fenced, looks, yields, waiting, woken;
    char *halves[2], *flags[2]; /* flags: of rank 0 */
    uint64_t *claims; /* of this rank and the one that it shares units with, or NULL */
    int64_t stride;             /* bytes from one rank's flag to the next one's */
    double seconds;             /* spent here and not yet counted */
} meet_t;

const int64_t cobre_meet_size = sizeof(meet_t);

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static uint64_t *flag_of(const meet_t *m, int64_t rank) {
    return (uint64_t *)(m->flags[m->sequence & 1] + rank * m->stride);
}

static void arrive(meet_t *m, const void *send, int64_t bytes) {
    m->sequence = (m->sequence + 1) & COUNTER;
    memcpy(m->halves[m->sequence & 1] + m->rank * bytes, send, (size_t)bytes);
    /* ranks that bring parts of different sizes are to notice */
    uint64_t call = (m->signature ^ (uint64_t)bytes * UINT64_C(2654435761)) & UINT64_C(0xFFFFFFFF);
    m->word = (call + 1) << 24 | m->sequence;
    __atomic_store_n(flag_of(m, m->rank), m->word, __ATOMIC_RELEASE);
    if (m->fenced) __atomic_thread_fence(__ATOMIC_SEQ_CST);
    m->waiting = 1;
    m->woken = 0;
}

/* Whether this rank is there, and sleeps for nobody. */
static int is_here(const meet_t *m, int64_t rank, uint64_t *flag) {
    *flag = __atomic_load_n(flag_of(m, rank), __ATOMIC_ACQUIRE);
    return *flag == m->word || (m->woken && (*flag & ~ASLEEP) == m->word);
}

static int is_here_soon(const meet_t *m, int64_t rank) {
    uint64_t flag;
    for (int64_t i = 0; i < m->looks; i++) {
        if (is_here(m, rank, &flag)) return 1;
        if ((flag & ~ASLEEP) == m->word) return 0; /* it sleeps, perhaps for this rank */
    }
    for (int64_t i = 0; i < m->yields; i++) {
        if (is_here(m, rank, &flag)) return 1;
        if ((flag & ~ASLEEP) == m->word) return 0;
        sched_yield();
    }
    return 0;
}

/* Bring send, count numbers, and find everybody's at received, rank after rank, until the next collective. Returns HERE, LARGE
 * where it is too much for this way and nothing has been done, or LATE: to be called again when Python has waited. */
int64_t cobre_swap(void *at, const double *send, int64_t count, const double **received) {
    meet_t *m = at;
    int64_t bytes = count * (int64_t)sizeof(double);
    double began = now();
    if (!m->waiting) {
        if (bytes * m->size > m->half) return LARGE;
        arrive(m, send, bytes);
    }
    for (int64_t rank = 0; rank < m->size; rank++)
        if (rank != m->rank && !is_here_soon(m, rank)) {
            m->seconds += now() - began;
            return LATE;
        }
    m->waiting = 0;
    *received = (const double *)m->halves[m->sequence & 1];
    if (m->fenced) __atomic_thread_fence(__ATOMIC_SEQ_CST);
    m->seconds += now() - began;
    return HERE;
}

/* Take one more of the units of work, less than 2^20, that this rank shares with another: an even rank takes them from the
 * front, the odd one after it from the back, until they meet. Between two collectives only. Returns whether there was one. */
int64_t cobre_claim(void *at, int64_t units) {
    meet_t *m = at;
    uint64_t mine = m->rank % 2 ? 1 : UINT64_C(1) << TAKEN, old = __atomic_load_n(m->claims, __ATOMIC_RELAXED), taken;
    do {
        taken = old >> 2 * TAKEN == m->sequence ? old : m->sequence << 2 * TAKEN; /* what is older does not count */
        if ((taken >> TAKEN & TAKEN_BITS) + (taken & TAKEN_BITS) >= (uint64_t)units) return 0;
    } while (!__atomic_compare_exchange_n(
        m->claims, &old, taken + mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED
    ));
    return 1;
}
