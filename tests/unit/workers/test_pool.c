/* The pool: every job runs once, in order, however tight the queue and however many the workers;
 * and a worker without a job does what else there is to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "core/error.h"
#include "core/sync.h"
#include "workers/pool.h"

#define LONG_MS 60000 /* a wait that ends by what is waited for, or the test has failed */

struct tally {
    struct dray_job job;
    int number;
    struct book *book;
};

struct book {
    atomic_int runs;
    atomic_int states; /* made and not freed */
    int fail_state_at; /* state_new fails for this one; -1: never */
    int order[64];     /* job numbers as a single worker ran them */
};

struct worker_state {
    struct book *book;
};

static int state_new(void *ctx, void **ret_state, struct dray_error *err)
{
    struct book *book = ctx;
    struct worker_state *state;

    if (atomic_load(&book->states) == book->fail_state_at)
        return dray_error_set(err, DRAY_EIO, "no state");
    state = malloc(sizeof(*state));
    assert_non_null(state);
    state->book = book;
    atomic_fetch_add(&book->states, 1);
    *ret_state = state;
    return DRAY_OK;
}

static void state_free(void *state)
{
    struct worker_state *mine = state;

    atomic_fetch_sub(&mine->book->states, 1);
    free(mine);
}

static void run(struct dray_job *job, void *state)
{
    struct tally *tally = (struct tally *)job; /* job is its first member */
    struct worker_state *mine = state;
    int place = atomic_fetch_add(&tally->book->runs, 1);

    if (mine->book != tally->book)
        abort();
    if (place < 64)
        tally->book->order[place] = tally->number;
    free(tally);
}

static struct dray_pool *make_pool(struct book *book, uint32_t workers, size_t capacity)
{
    struct dray_pool_options options = { .workers = workers,
                                         .capacity = capacity,
                                         .state_new = state_new,
                                         .state_free = state_free,
                                         .ctx = book };
    struct dray_pool *pool = NULL;

    assert_int_equal(dray_pool_new(&options, &pool, NULL), DRAY_OK);
    return pool;
}

static void push(struct dray_pool *pool, struct book *book, int number)
{
    struct tally *tally = calloc(1, sizeof(*tally));

    assert_non_null(tally);
    tally->job.run = run;
    tally->number = number;
    tally->book = book;
    dray_pool_push(pool, &tally->job);
}

static void one_worker_runs_jobs_in_the_order_they_came(void **state)
{
    struct book book = { .fail_state_at = -1 };
    struct dray_pool *pool = make_pool(&book, 1, 1);

    (void)state;
    for (int i = 0; i < 64; i++)
        push(pool, &book, i);
    dray_pool_free(pool);
    assert_int_equal(book.runs, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(book.order[i], i);
}

static void every_job_runs_once_with_a_queue_of_one_and_many_workers(void **state)
{
    struct book book = { .fail_state_at = -1 };
    struct dray_pool *pool = make_pool(&book, 256, 1);

    (void)state;
    for (int i = 0; i < 5000; i++)
        push(pool, &book, i);
    dray_pool_free(pool);
    assert_int_equal(book.runs, 5000);
    assert_int_equal(book.states, 0);
}

static void freeing_lets_what_was_pushed_finish(void **state)
{
    struct book book = { .fail_state_at = -1 };
    struct dray_pool *pool = make_pool(&book, 2, 1000);

    (void)state;
    for (int i = 0; i < 1000; i++)
        push(pool, &book, i);
    dray_pool_free(pool);
    assert_int_equal(book.runs, 1000);
}

static void a_pool_that_cannot_start_frees_the_workers_it_has(void **state)
{
    struct book book = { .fail_state_at = 3 };
    struct dray_pool_options options = {
        .workers = 8, .capacity = 4, .state_new = state_new, .state_free = state_free, .ctx = &book
    };
    struct dray_pool *pool = NULL;
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(dray_pool_new(&options, &pool, &err), DRAY_EIO);
    assert_string_equal(err.text, "no state");
    assert_null(pool);
    assert_int_equal(book.states, 0);
}

static void an_idle_pool_is_freed(void **state)
{
    struct book book = { .fail_state_at = -1 };

    (void)state;
    dray_pool_free(make_pool(&book, 16, 1));
    dray_pool_free(NULL);
    assert_int_equal(book.states, 0);
}

/* Spare work: so many units, and who waits for them to be done. */
struct chores {
    struct book book; /* first: state_new() takes it for its own */
    int64_t answer;   /* what spare says when there are no units */
    atomic_int asked; /* how often spare was called */
    atomic_int inside;
    _Atomic(struct dray_pool *) pool; /* to nudge for late units */

    struct dray_mutex mu;
    struct dray_cond changed; /* any of the below */
    int units;
    int late_units; /* they come as soon as somebody has seen that there are none */
    int done;
    bool open; /* jobs that wait_for_open() may end */
};

static void chores_init(struct chores *chores, int64_t answer)
{
    *chores = (struct chores){ .book = { .fail_state_at = -1 }, .answer = answer };
    dray_mutex_init(&chores->mu);
    dray_cond_init(&chores->changed);
}

static void chores_done(struct chores *chores)
{
    assert_int_equal(chores->book.states, 0);
    assert_int_equal(chores->inside, 0);
    dray_cond_done(&chores->changed);
    dray_mutex_done(&chores->mu);
}

/* Let a unit come now, after the caller has looked for one in vain. */
static void let_one_come(struct chores *chores)
{
    bool came;

    dray_mutex_lock(&chores->mu);
    came = chores->late_units > 0;
    if (came) {
        chores->late_units--;
        chores->units++;
    }
    dray_mutex_unlock(&chores->mu);
    if (came)
        dray_pool_nudge(atomic_load(&chores->pool));
}

static int64_t do_a_unit(void *ctx, void *state)
{
    struct chores *chores = ctx;
    struct worker_state *mine = state;
    bool found;

    if (mine->book != &chores->book)
        abort();
    atomic_fetch_add(&chores->inside, 1);
    atomic_fetch_add(&chores->asked, 1);
    dray_mutex_lock(&chores->mu);
    found = chores->units > 0;
    if (found) {
        chores->units--;
        chores->done++;
        dray_cond_broadcast(&chores->changed);
    }
    dray_mutex_unlock(&chores->mu);
    if (!found && atomic_load(&chores->pool))
        let_one_come(chores);
    atomic_fetch_sub(&chores->inside, 1);
    return found ? 0 : chores->answer;
}

static void add_units(struct chores *chores, int units)
{
    dray_mutex_lock(&chores->mu);
    chores->units += units;
    dray_mutex_unlock(&chores->mu);
}

static void await_done(struct chores *chores, int done)
{
    int64_t deadline_ms = dray_now_ms() + LONG_MS;
    bool in_time = true;

    dray_mutex_lock(&chores->mu);
    while (chores->done < done && in_time)
        in_time = dray_cond_wait_until(&chores->changed, &chores->mu, deadline_ms);
    dray_mutex_unlock(&chores->mu);
    assert_true(in_time);
}

static struct dray_pool *make_useful_pool(struct chores *chores, uint32_t workers, size_t capacity)
{
    struct dray_pool_options options = { .workers = workers,
                                         .capacity = capacity,
                                         .state_new = state_new,
                                         .state_free = state_free,
                                         .spare = do_a_unit,
                                         .ctx = chores };
    struct dray_pool *pool = NULL;

    assert_int_equal(dray_pool_new(&options, &pool, NULL), DRAY_OK);
    return pool;
}

/* The count moves on its own, so it is looked at until it is right. */
static void await_idle(struct dray_pool *pool, uint32_t idle)
{
    int64_t deadline_ms = dray_now_ms() + LONG_MS;
    struct timespec pause = { .tv_nsec = 1000000 };

    while (dray_pool_idle(pool) != idle && dray_now_ms() < deadline_ms)
        nanosleep(&pause, NULL);
    assert_int_equal(dray_pool_idle(pool), idle);
}

static void spare_work_and_jobs_are_all_done_by_many_workers(void **state)
{
    struct chores chores;
    struct dray_pool *pool;

    (void)state;
    chores_init(&chores, -1);
    add_units(&chores, 5000);
    pool = make_useful_pool(&chores, 256, 1);
    for (int i = 0; i < 1000; i++)
        push(pool, &chores.book, i);
    await_done(&chores, 5000);
    dray_pool_free(pool);
    assert_int_equal(chores.book.runs, 1000);
    assert_int_equal(chores.units, 0);
    chores_done(&chores);
}

static void a_nudge_between_looking_and_waiting_is_not_missed(void **state)
{
    struct chores chores;
    struct dray_pool *pool;

    (void)state;
    chores_init(&chores, -1);
    chores.late_units = 1000;
    pool = make_useful_pool(&chores, 1, 1);
    atomic_store(&chores.pool, pool);
    dray_pool_nudge(pool);
    await_done(&chores, 1000);
    dray_pool_free(pool);
    chores_done(&chores);
}

static void a_nudge_wakes_a_worker_that_waits(void **state)
{
    struct chores chores;
    struct dray_pool *pool;

    (void)state;
    chores_init(&chores, -1);
    pool = make_useful_pool(&chores, 1, 1);
    for (int i = 1; i <= 1000; i++) {
        add_units(&chores, 1);
        dray_pool_nudge(pool);
        await_done(&chores, i);
    }
    dray_pool_free(pool);
    chores_done(&chores);
}

struct nudger {
    struct chores *chores;
    struct dray_pool *pool;
};

static void *add_and_nudge(void *arg)
{
    struct nudger *nudger = arg;

    for (int i = 0; i < 100; i++) {
        add_units(nudger->chores, 1);
        dray_pool_nudge(nudger->pool);
    }
    return NULL;
}

static void nudges_of_many_threads_wake_many_workers(void **state)
{
    struct chores chores;
    struct nudger nudger = { .chores = &chores };
    pthread_t threads[8];

    (void)state;
    chores_init(&chores, -1);
    nudger.pool = make_useful_pool(&chores, 64, 1);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_and_nudge, &nudger), 0);
    for (int i = 0; i < 200; i++)
        push(nudger.pool, &chores.book, i);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    await_done(&chores, 800);
    dray_pool_free(nudger.pool);
    assert_int_equal(chores.book.runs, 200);
    chores_done(&chores);
}

static void a_worker_asks_again_after_the_pause(void **state)
{
    struct chores chores;
    struct dray_pool *pool;

    (void)state;
    chores_init(&chores, 2);
    pool = make_useful_pool(&chores, 1, 1);
    for (int i = 1; i <= 5; i++) {
        add_units(&chores, 1); /* and nobody is told */
        await_done(&chores, i);
    }
    dray_pool_free(pool);
    chores_done(&chores);
}

static void a_job_ends_the_longest_pause(void **state)
{
    static const int64_t pauses_ms[] = { -1, INT32_MAX };

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct chores chores;
        struct dray_pool *pool;

        chores_init(&chores, pauses_ms[i]);
        pool = make_useful_pool(&chores, 1, 1);
        await_idle(pool, 1);
        add_units(&chores, 1);
        push(pool, &chores.book, 0);
        await_done(&chores, 1); /* after the job spare was asked again */
        assert_int_equal(chores.book.runs, 1);
        dray_pool_free(pool);
        chores_done(&chores);
    }
}

struct gate_job {
    struct dray_job job;
    struct chores *chores;
    int asked_before; /* what chores->asked was when the job began */
};

static void wait_for_open(struct dray_job *job, void *state)
{
    struct gate_job *gate = (struct gate_job *)job; /* job is its first member */
    struct chores *chores = gate->chores;

    (void)state;
    gate->asked_before = atomic_load(&chores->asked);
    dray_mutex_lock(&chores->mu);
    while (!chores->open)
        dray_cond_wait(&chores->changed, &chores->mu);
    dray_mutex_unlock(&chores->mu);
}

static void open_gate(struct chores *chores)
{
    dray_mutex_lock(&chores->mu);
    chores->open = true;
    dray_cond_broadcast(&chores->changed);
    dray_mutex_unlock(&chores->mu);
}

static void jobs_come_before_spare_work(void **state)
{
    struct chores chores;
    struct gate_job gates[3];
    struct dray_pool *pool;

    (void)state;
    chores_init(&chores, -1);
    pool = make_useful_pool(&chores, 1, 3);
    add_units(&chores, 1000);
    for (int i = 0; i < 3; i++) {
        gates[i] = (struct gate_job){ .job = { .run = wait_for_open }, .chores = &chores };
        dray_pool_push(pool, &gates[i].job);
    }
    open_gate(&chores);
    dray_pool_free(pool);
    assert_int_equal(gates[1].asked_before, gates[0].asked_before);
    assert_int_equal(gates[2].asked_before, gates[0].asked_before);
    chores_done(&chores);
}

static void workers_that_wait_are_counted_as_idle(void **state)
{
    struct chores chores;
    struct gate_job gates[3];
    struct dray_pool *pool;

    (void)state;
    chores_init(&chores, -1);
    pool = make_useful_pool(&chores, 8, 3);
    await_idle(pool, 8);
    for (int i = 0; i < 3; i++) {
        gates[i] = (struct gate_job){ .job = { .run = wait_for_open }, .chores = &chores };
        dray_pool_push(pool, &gates[i].job);
    }
    await_idle(pool, 5);
    open_gate(&chores);
    await_idle(pool, 8);
    dray_pool_free(pool);
    chores_done(&chores);
}

/* There is always more to do: who is in spare finishes that, and nobody goes there again. */
static void freeing_ends_spare_work_that_never_ends(void **state)
{
    struct chores chores;
    struct dray_pool *pool;

    (void)state;
    chores_init(&chores, 0);
    pool = make_useful_pool(&chores, 16, 1);
    push(pool, &chores.book, 0);
    dray_pool_free(pool);
    assert_int_equal(chores.book.runs, 1);
    chores_done(&chores);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_worker_runs_jobs_in_the_order_they_came),
        cmocka_unit_test(every_job_runs_once_with_a_queue_of_one_and_many_workers),
        cmocka_unit_test(freeing_lets_what_was_pushed_finish),
        cmocka_unit_test(a_pool_that_cannot_start_frees_the_workers_it_has),
        cmocka_unit_test(an_idle_pool_is_freed),
        cmocka_unit_test(spare_work_and_jobs_are_all_done_by_many_workers),
        cmocka_unit_test(a_nudge_between_looking_and_waiting_is_not_missed),
        cmocka_unit_test(a_nudge_wakes_a_worker_that_waits),
        cmocka_unit_test(nudges_of_many_threads_wake_many_workers),
        cmocka_unit_test(a_worker_asks_again_after_the_pause),
        cmocka_unit_test(a_job_ends_the_longest_pause),
        cmocka_unit_test(jobs_come_before_spare_work),
        cmocka_unit_test(workers_that_wait_are_counted_as_idle),
        cmocka_unit_test(freeing_ends_spare_work_that_never_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
