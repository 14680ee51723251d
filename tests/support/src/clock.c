/*
 * A fake wall clock, preloaded into the daemon. It adds the seconds in the file $FOREBAY_TEST_CLOCK (one 64-bit
 * integer) to every function that returns the time of day. The monotonic clock stays true.
 *
 * Waits until a time of day behave as they do when an operator sets the clock: they end when the fake clock reaches
 * that time, earlier or later than planned. They are split into slices, because the kernel does not know the fake
 * clock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 50000000L
#define SECOND_NS 1000000000L

static const volatile int64_t *offset_s;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FOREBAY_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) offset_s = page;
}

static struct timespec true_time(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    return now;
}

static struct timespec moved_time(void) {
    struct timespec now = true_time();
    if (offset_s) now.tv_sec += *offset_s;
    return now;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) {
        return (int)syscall(SYS_clock_gettime, clock, now);
    }
    *now = moved_time();
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec moved = moved_time();
    now->tv_sec = moved.tv_sec;
    now->tv_usec = moved.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    time_t now = moved_time().tv_sec;
    if (out) *out = now;
    return now;
}

int timespec_get(struct timespec *now, int base) {
    if (base != TIME_UTC) return 0;
    *now = moved_time();
    return base;
}

/* The true time at which a slice of a wait until `until` on the fake clock ends; false if that time has come. */
static int slice(const struct timespec *until, struct timespec *end) {
    struct timespec now = moved_time();
    int64_t left = (int64_t)(until->tv_sec - now.tv_sec);
    /* Not in nanoseconds at once: an endless wait would overflow. */
    if (left < 2) left = left * SECOND_NS + until->tv_nsec - now.tv_nsec;
    else left = SLICE_NS;
    if (left <= 0) return 0;
    *end = true_time();
    end->tv_nsec += left < SLICE_NS ? left : SLICE_NS;
    if (end->tv_nsec >= SECOND_NS) {
        end->tv_sec += 1;
        end->tv_nsec -= SECOND_NS;
    }
    return 1;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static int (*next)(cnd_t *, mtx_t *, const struct timespec *);
    struct timespec end;
    int result = thrd_timedout;
    if (!next) next = dlsym(RTLD_NEXT, "cnd_timedwait");
    while (result == thrd_timedout && slice(until, &end)) result = next(condition, mutex, &end);
    return result;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec end;
    int result = ETIMEDOUT;
    if (!next) next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    /* A monotonic time: no machine has been up for thirty years. */
    if (until->tv_sec < SECOND_NS) return next(condition, mutex, until);
    while (result == ETIMEDOUT && slice(until, &end)) result = next(condition, mutex, &end);
    return result;
}
