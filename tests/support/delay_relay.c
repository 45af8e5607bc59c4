/* A relay on loopback that makes a server look far away.
 *
 *   delay_relay TARGET_PORT ONE_WAY_MS [BYTES_PER_SECOND]
 *
 * It listens on a free port of 127.0.0.1, prints that port, and carries each connection to
 * 127.0.0.1:TARGET_PORT. Every byte arrives ONE_WAY_MS late, in both directions and in order. The
 * first bytes of a client take a round trip longer, as after a TCP handshake. What comes back may
 * be held to a rate for each connection. Losses and TCP's slow start are not played, but its window
 * is: up to WAY_BYTES are under way in each direction. It runs until it is killed.
 *
 * Each direction of a connection is a "way": a ring of bytes, a ring of arrivals that say when
 * which bytes are due, a thread that reads and one that writes. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "relay.h"

/* One way of two: a window of 8 MiB, a little more than Linux grants by default (the maximum of
 * net.ipv4.tcp_rmem is 6 MiB). At 25 ms a connection so gets up to 168 MB/s. */
#define WAY_BYTES    ((size_t)4 << 20)
#define WAY_ARRIVALS ((size_t)16384)
#define READ_BYTES   ((size_t)65536)

static uint16_t target_port;
static int64_t one_way_ns;
static int64_t bytes_per_s; /* 0: no limit */

struct arrival {
    size_t len; /* 0: the end */
    int64_t due_ns;
};

struct way {
    int from, to;
    int64_t extra_until_ns; /* nothing is due before */
    int64_t rate;           /* bytes a second; 0: no limit */
    uint8_t *bytes;         /* WAY_BYTES of them */
    struct arrival arrivals[WAY_ARRIVALS];

    pthread_mutex_t mu;               /* guards the fields below */
    pthread_cond_t changed;           /* any of them */
    size_t read_count, written_count; /* of bytes, ever */
    size_t pushed, popped;            /* of arrivals, ever */
    bool dead;                        /* the writer could not go on */
};

struct link {
    struct way there, back;
};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void sleep_until(int64_t due_ns)
{
    struct timespec due = { .tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000 };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
        continue;
}

/* How many bytes may be read into one piece of the ring; 0: the writer is dead. */
static size_t wait_room(struct way *way, size_t *ret_at)
{
    size_t room, at;

    pthread_mutex_lock(&way->mu);
    while (!way->dead && (way->read_count - way->written_count == WAY_BYTES ||
                          way->pushed - way->popped == WAY_ARRIVALS))
        pthread_cond_wait(&way->changed, &way->mu);
    room = way->dead ? 0 : WAY_BYTES - (way->read_count - way->written_count);
    at = way->read_count % WAY_BYTES;
    pthread_mutex_unlock(&way->mu);
    if (room > WAY_BYTES - at)
        room = WAY_BYTES - at;
    *ret_at = at;
    return room < READ_BYTES ? room : READ_BYTES;
}

static void push(struct way *way, size_t len)
{
    int64_t due_ns = now_ns();

    if (due_ns < way->extra_until_ns)
        due_ns = way->extra_until_ns;
    pthread_mutex_lock(&way->mu);
    way->arrivals[way->pushed++ % WAY_ARRIVALS] = (struct arrival){ len, due_ns + one_way_ns };
    way->read_count += len;
    pthread_cond_signal(&way->changed);
    pthread_mutex_unlock(&way->mu);
}

static void *read_way(void *arg)
{
    struct way *way = arg;
    size_t room, at;
    ssize_t count;

    while ((room = wait_room(way, &at)) > 0) {
        do
            count = read(way->from, way->bytes + at, room);
        while (count < 0 && errno == EINTR);
        push(way, count > 0 ? (size_t)count : 0);
        if (count <= 0)
            break;
    }
    return NULL;
}

static bool write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t count = send(fd, data, len, MSG_NOSIGNAL);

        if (count < 0 && errno != EINTR)
            return false;
        if (count > 0) {
            data += count;
            len -= (size_t)count;
        }
    }
    return true;
}

static struct arrival wait_arrival(struct way *way)
{
    struct arrival arrival;

    pthread_mutex_lock(&way->mu);
    while (way->pushed == way->popped)
        pthread_cond_wait(&way->changed, &way->mu);
    arrival = way->arrivals[way->popped % WAY_ARRIVALS];
    pthread_mutex_unlock(&way->mu);
    return arrival;
}

static void pop(struct way *way, size_t len, bool dead)
{
    pthread_mutex_lock(&way->mu);
    way->popped++;
    way->written_count += len;
    way->dead = dead;
    pthread_cond_signal(&way->changed);
    pthread_mutex_unlock(&way->mu);
}

static void *write_way(void *arg)
{
    struct way *way = arg;
    int64_t free_ns = 0; /* when the line can take more */
    size_t at = 0;

    for (;;) {
        struct arrival arrival = wait_arrival(way);
        bool good;

        if (arrival.due_ns < free_ns)
            arrival.due_ns = free_ns;
        sleep_until(arrival.due_ns);
        if (arrival.len == 0)
            break;
        if (way->rate > 0)
            free_ns = arrival.due_ns + (int64_t)arrival.len * 1000000000 / way->rate;
        good = write_all(way->to, way->bytes + at, arrival.len);
        pop(way, arrival.len, !good);
        if (!good) {
            shutdown(way->from, SHUT_RD); /* wakes the reader */
            return NULL;
        }
        at = (at + arrival.len) % WAY_BYTES;
    }
    shutdown(way->to, SHUT_WR);
    return NULL;
}

static void way_init(struct way *way, int from, int to, int64_t extra_until_ns, int64_t rate)
{
    way->from = from;
    way->to = to;
    way->extra_until_ns = extra_until_ns;
    way->rate = rate;
    way->bytes = mmap(NULL, WAY_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (way->bytes == MAP_FAILED)
        die("mmap");
    pthread_mutex_init(&way->mu, NULL);
    pthread_cond_init(&way->changed, NULL);
}

static void way_done(struct way *way)
{
    munmap(way->bytes, WAY_BYTES);
    pthread_cond_destroy(&way->changed);
    pthread_mutex_destroy(&way->mu);
}

static void run_way_threads(struct link *link)
{
    pthread_t threads[4];
    struct way *ways[] = { &link->there, &link->back };
    size_t i;

    for (i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, i % 2 ? write_way : read_way, ways[i / 2]) != 0)
            die("pthread_create");
    for (i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void *serve(void *arg)
{
    int near = (int)(intptr_t)arg, far = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = loopback(target_port);
    struct link *link;

    link = calloc(1, sizeof *link);
    if (far < 0 || !link)
        die("connection");
    if (connect(far, (struct sockaddr *)&address, sizeof address) == 0) {
        setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        way_init(&link->there, near, far, now_ns() + 2 * one_way_ns, 0);
        way_init(&link->back, far, near, 0, bytes_per_s);
        run_way_threads(link);
        way_done(&link->there);
        way_done(&link->back);
    }
    free(link);
    close(far);
    close(near);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: delay_relay TARGET_PORT ONE_WAY_MS [BYTES_PER_SECOND]\n");
        return 2;
    }
    target_port = (uint16_t)strtol(argv[1], NULL, 10);
    one_way_ns = (int64_t)(strtod(argv[2], NULL) * 1e6);
    bytes_per_s = argc == 4 ? strtoll(argv[3], NULL, 10) : 0;
    serve_for_ever(serve);
}
