#include "cmd/clock.h"

#include <time.h>

static int64_t read_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t dray_clock_now_ms(void)
{
    return read_ms(CLOCK_MONOTONIC);
}

int64_t dray_clock_wall_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

json_t *dray_clock_json(int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm utc = { 0 };
    char date[32];

    gmtime_r(&seconds, &utc);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    return json_sprintf("%s.%03dZ", date, (int)(time_ms % 1000));
}
