#include "registry/credentials.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "core/cancel.h"
#include "tests/unit/registry/fixture.h"
#include "tests/unit/registry/helper_programs.h"

static struct dray_credentials *parse(const char *json)
{
    struct dray_credentials *credentials = NULL;
    struct dray_error err = { 0 };

    if (dray_credentials_parse(json, strlen(json), NULL, &credentials, &err) != DRAY_OK)
        fail_msg("%s: %s", json, err.text);
    return credentials;
}

/* "user:password" of who is found, "" for nobody. */
static const char *find(struct dray_credentials *credentials, const char *host,
                        const char *repository)
{
    const struct dray_credential *credential =
        dray_credentials_find(credentials, host, repository, true, NULL);

    return credential && credential->basic.text ? credential->basic.text : "";
}

static void each_form_of_an_entry_is_read(void **state)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials =
        parse("{\"auths\":{"
              "\"a.test\":{\"auth\":\"YWxpY2U6cDpzcw==\"},"
              "\"b.test\":{\"username\":\"bob\",\"password\":\"secret\"},"
              "\"c.test\":{\"auth\":\"PHRva2VuPjo=\",\"identitytoken\":\"refresh\"},"
              "\"d.test\":{\"registrytoken\":\"bearer\"},"
              "\"e.test\":{\"auth\":\"YWxpY2U6cHcAAAA=\"},"
              "\"f.test\":{\"auth\":\"YWxpY2U6cHc\"},"
              "\"g.test\":{}}}");
    const struct dray_credential *found;

    (void)state;
    assert_string_equal(find(credentials, "a.test", "x"), "alice:p:ss"); /* C-3 */
    assert_string_equal(find(credentials, "b.test", "x"), "bob:secret");
    found = dray_credentials_find(credentials, "c.test", "x", true, NULL);
    assert_string_equal(found->identity_token.text, "refresh");
    found = dray_credentials_find(credentials, "d.test", "x", true, NULL);
    assert_string_equal(found->registry_token.text, "bearer");
    assert_string_equal(find(credentials, "e.test", "x"), "alice:pw");
    assert_string_equal(find(credentials, "f.test", "x"), "alice:pw");
    assert_null(dray_credentials_find(credentials, "g.test", "x", true, NULL));
    assert_null(dray_credentials_find(credentials, "h.test", "x", true, NULL));
}

/* C-2 */
static void scheme_and_path_are_stripped_and_exact_keys_win(void **state)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials =
        parse("{\"auths\":{"
              "\"https://a.test/v1/\":{\"username\":\"stripped\"},"
              "\"a.test\":{\"username\":\"exact\"},"
              "\"http://b.test:5000/whatever\":{\"username\":\"b\"},"
              "\"c.test/v2/\":{\"username\":\"c\"}}}");

    (void)state;
    assert_string_equal(find(credentials, "a.test", "x"), "exact:");
    assert_string_equal(find(credentials, "b.test:5000", "x"), "b:");
    assert_string_equal(find(credentials, "b.test", "x"), "");
    assert_string_equal(find(credentials, "c.test", "x"), "c:");
}

static void docker_hub_is_known_by_all_its_names(void **state)
{
    static const char *const keys[] = { "https://index.docker.io/v1/", "docker.io",
                                        "index.docker.io", "registry-1.docker.io",
                                        "https://registry-1.docker.io/v2/" };

    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char json[256];
        struct dray_credentials *credentials;

        snprintf(json, sizeof(json), "{\"auths\":{\"%s\":{\"username\":\"hub\"}}}", keys[i]);
        credentials = parse(json);
        assert_string_equal(find(credentials, "docker.io", "library/x"), "hub:");
        dray_credentials_free(credentials);
    }
    DRAY_AUTO_CREDENTIALS struct dray_credentials *both =
        parse("{\"auths\":{\"docker.io\":{\"username\":\"podman\"},"
              "\"https://index.docker.io/v1/\":{\"username\":\"docker\"}}}");
    assert_string_equal(find(both, "docker.io", "library/x"), "docker:");
}

static void a_namespace_key_holds_for_what_is_below_it(void **state)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials =
        parse("{\"auths\":{"
              "\"a.test\":{\"username\":\"host\"},"
              "\"a.test/team\":{\"username\":\"team\"},"
              "\"a.test/team/app\":{\"username\":\"app\"}}}");

    (void)state;
    assert_string_equal(find(credentials, "a.test", "team/app"), "app:");
    assert_string_equal(find(credentials, "a.test", "team/app/x"), "app:");
    assert_string_equal(find(credentials, "a.test", "team/application"), "team:");
    assert_string_equal(find(credentials, "a.test", "teams"), "host:");
    assert_string_equal(find(credentials, "b.test", "team/app"), "");
}

static void a_malformed_file_is_refused_without_being_quoted(void **state)
{
    static const char *const rows[] = {
        "",
        "[]",
        "{",
        "hunter2",
        "{\"auths\":[]}",
        "{\"auths\":{\"a\":{\"auth\":\"hunter2!\"}}}",
        "{\"auths\":{\"a\":{\"auth\":\"aHVudGVyMg==\"}}}",     /* no colon */
        "{\"auths\":{\"a\":{\"auth\":\"Omh1bnRlcjI=\"}}}",     /* no user */
        "{\"auths\":{\"a\":{\"auth\":\"YQBiOmh1bnRlcjI=\"}}}", /* NUL inside */
        "{\"auths\":{\"a\":{\"username\":\"x:y\",\"password\":\"hunter2\"}}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dray_credentials *credentials = NULL;
        struct dray_error err = { 0 };

        if (dray_credentials_parse(rows[i], strlen(rows[i]), NULL, &credentials, &err) !=
            DRAY_EINVAL)
            fail_msg("accepted: %s", rows[i]);
        assert_null(credentials);
        assert_lacks(err.text, "hunter2");
    }
}

struct sink {
    char text[512];
    enum dray_log_level level;
};

static void keep_line(void *ctx, enum dray_log_level level, const char *text)
{
    struct sink *sink = ctx;

    sink->level = level;
    snprintf(sink->text, sizeof(sink->text), "%s", text);
}

/* Helpers that are called store, extra and slow; each writes down what it is asked. */
static const char *const helpers[][2] = {
    { "store",
      "case $server in *none*) echo credentials not found in native keychain; exit 1;; esac\n"
      "echo \"{\\\"Username\\\":\\\"store\\\",\\\"Secret\\\":\\\"$server\\\"}\"\n" },
    { "extra", "echo '{\"Username\":\"extra\",\"Secret\":\"\"}'\n" },
    { "slow", "sleep 0.3; echo '{\"Username\":\"slow\",\"Secret\":\"\"}'\n" },
    { "broken", "echo hunter2; exit 3\n" },
};

static int set_up_helpers(void **state)
{
    char *dir = test_make_helper_dir();

    for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++)
        test_write_helper(dir, helpers[i][0], helpers[i][1]);
    *state = dir;
    return 0;
}

static int tear_down_helpers(void **state)
{
    test_remove_helper_dir(*state);
    return 0;
}

/* C-5 */
static void a_host_s_own_helper_beats_the_common_one_and_that_beats_the_file(void **state)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = parse(
        "{\"credsStore\":\"store\",\"credHelpers\":{\"extra.test\":\"extra\"},\"auths\":{"
        "\"extra.test\":{\"username\":\"file\"},\"known.test\":{\"username\":\"file\"},"
        "\"none.test\":{\"username\":\"file\"},\"known.test/team\":{\"username\":\"team\"}}}");

    assert_string_equal(find(credentials, "extra.test", "x"), "extra:");
    assert_string_equal(find(credentials, "known.test", "team/x"), "store:known.test");
    assert_string_equal(find(credentials, "none.test", "x"), "file:"); /* which has none */
    assert_string_equal(find(credentials, "docker.io", "x"), "store:https://index.docker.io/v1/");
    /* each is asked once */
    assert_string_equal(find(credentials, "known.test", "y"), "store:known.test");
    assert_string_equal(find(credentials, "none.test", "y"), "file:");
    assert_int_equal(test_helper_calls(*state), 4);
}

static void a_helper_that_fails_is_told_once_and_knows_nothing(void **state)
{
    static const char json[] = "{\"credsStore\":\"broken\",\"credHelpers\":{\"b.test\":\"absent\"},"
                               "\"auths\":{\"a.test\":{\"username\":\"file\"}}}";
    struct sink sink = { 0 };
    struct dray_log log = { .write = keep_line, .ctx = &sink, .level = DRAY_LOG_INFO };
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = NULL;

    assert_ok(dray_credentials_parse(json, strlen(json), &log, &credentials, NULL));
    assert_string_equal(sink.text, ""); /* nothing needs it yet */
    assert_string_equal(find(credentials, "a.test", "x"), "file:");
    assert_int_equal(sink.level, DRAY_LOG_WARNING);
    assert_contains(sink.text, "broken: exit status 3");
    assert_contains(sink.text, "a.test");
    assert_lacks(sink.text, "hunter2");
    sink.text[0] = '\0';
    assert_string_equal(find(credentials, "a.test", "y"), "file:");
    assert_string_equal(sink.text, "");
    assert_int_equal(test_helper_calls(*state), 1);

    assert_string_equal(find(credentials, "b.test", "x"), "");
    assert_contains(sink.text, "docker-credential-absent: No such file");
}

static void *find_slow(void *ctx)
{
    return strcmp(find(ctx, "slow.test", "x"), "slow:") == 0 ? NULL : ctx;
}

static void threads_that_want_the_same_ask_once(void **state)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = parse("{\"credsStore\":\"slow\"}");
    pthread_t threads[8];

    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, find_slow, credentials), 0);
    for (size_t i = 0; i < 8; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(test_helper_calls(*state), 1);
}

static void who_is_canceled_asks_nobody_and_another_may(void **state)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials =
        parse("{\"credsStore\":\"store\"}");
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;

    assert_ok(dray_cancel_new(&cancel, NULL));
    dray_cancel_fire(cancel);
    assert_null(dray_credentials_find(credentials, "a.test", "x", true, cancel));
    assert_int_equal(test_helper_calls(*state), 0);
    assert_string_equal(find(credentials, "a.test", "x"), "store:a.test");
}

/* Where the user's files are, in the order in which they count. */
static const struct {
    const char *variable; /* is set to the test's directory and below */
    const char *below;
    const char *file;
} places[] = {
    { "CREDENTIALS_DIRECTORY", "service", "service/auth.json" },
    { "DOCKER_CONFIG", "docker", "docker/config.json" },
    { "XDG_RUNTIME_DIR", "run", "run/containers/auth.json" },
    { "XDG_CONFIG_HOME", "config", "config/containers/auth.json" },
    { "HOME", "home", "home/.docker/config.json" },
    { "HOME", "home", "home/.config/containers/auth.json" },
};

#define PLACES (sizeof(places) / sizeof(places[0]))

static int set_up_places(void **state)
{
    static const char *const directories[] = {
        "service",           "docker", "run",          "run/containers", "config",
        "config/containers", "home",   "home/.docker", "home/.config",   "home/.config/containers",
    };
    char *dir = test_make_helper_dir();

    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
        char path[1024];

        snprintf(path, sizeof(path), "%s/%s", dir, directories[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    for (size_t i = 0; i < PLACES; i++) {
        char path[1024];
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s", dir, places[i].below);
        setenv(places[i].variable, path, 1);
        snprintf(path, sizeof(path), "%s/%s", dir, places[i].file);
        file = fopen(path, "w");
        assert_non_null(file);
        /* each knows all.test, and one registry of its own */
        fprintf(
            file,
            "{\"auths\":{\"all.test\":{\"username\":\"%zu\"},\"%zu.test\":{\"username\":\"me\"}}}",
            i, i);
        fclose(file);
    }
    *state = dir;
    return 0;
}

static int tear_down_places(void **state)
{
    for (size_t i = 0; i < PLACES; i++)
        unsetenv(places[i].variable);
    unsetenv("DOCKER_AUTH_CONFIG");
    unsetenv("REGISTRY_AUTH_FILE");
    setenv("DOCKER_CONFIG", "/nonexistent", 1);
    test_remove_helper_dir(*state);
    return 0;
}

static void expect_users(const char *path, const char *all, const char *own)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = NULL;
    char known[PLACES + 1] = "";

    assert_ok(dray_credentials_new(path, NULL, NULL, &credentials, NULL));
    assert_string_equal(find(credentials, "all.test", "x"), all);
    for (size_t i = 0; i < PLACES; i++) {
        char host[32];

        snprintf(host, sizeof(host), "%zu.test", i);
        if (strcmp(find(credentials, host, "x"), "me:") == 0)
            snprintf(known + strlen(known), 2, "%zu", i);
    }
    assert_string_equal(known, own);
}

static void the_files_of_docker_and_podman_are_read_in_turn(void **state) /* C-5 */
{
    char path[1024];

    snprintf(path, sizeof(path), "%s/%s", (char *)*state, places[1].file);
    expect_users(NULL, "0:", "0123");
    unsetenv("CREDENTIALS_DIRECTORY");
    expect_users(NULL, "1:", "123");
    unsetenv("DOCKER_CONFIG"); /* then it is below the user's home */
    expect_users(NULL, "4:", "234");
    unsetenv("XDG_CONFIG_HOME");
    expect_users(NULL, "4:", "245");
    unsetenv("HOME");
    expect_users(NULL, "2:", "2");
    unsetenv("XDG_RUNTIME_DIR");
    expect_users(NULL, "", "");
    expect_users(path, "1:", "1");
}

static void the_environment_beats_the_usual_files_and_a_named_file_is_alone(void **state)
{
    struct dray_credentials *credentials = NULL;
    struct dray_error err = { 0 };
    char path[1024];

    setenv("DOCKER_AUTH_CONFIG", "{\"auths\":{\"all.test\":{\"username\":\"env\"}}}", 1);
    expect_users(NULL, "env:", "0123");
    snprintf(path, sizeof(path), "%s/%s", (char *)*state, places[2].file);
    expect_users(path, "2:", "2");
    setenv("REGISTRY_AUTH_FILE", path, 1);
    expect_users(NULL, "2:", "2");
    setenv("REGISTRY_AUTH_FILE", "/nonexistent/auth.json", 1);
    assert_int_equal(dray_credentials_new(NULL, NULL, NULL, &credentials, &err), DRAY_EIO);
    assert_contains(err.text, "/nonexistent/auth.json");
    unsetenv("REGISTRY_AUTH_FILE");

    setenv("DOCKER_AUTH_CONFIG", "{\"auths\": hunter2", 1);
    assert_int_equal(dray_credentials_new(NULL, NULL, NULL, &credentials, &err), DRAY_EINVAL);
    assert_contains(err.text, "DOCKER_AUTH_CONFIG");
    assert_lacks(err.text, "hunter2");
}

static void a_named_file_must_be_there(void **state)
{
    struct dray_credentials *credentials = NULL;
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(dray_credentials_new("/nonexistent/auth.json", NULL, NULL, &credentials, &err),
                     DRAY_EIO);
    assert_contains(err.text, "/nonexistent/auth.json");
    assert_int_equal(dray_credentials_new("/tmp", NULL, NULL, &credentials, &err), DRAY_EINVAL);
}

static void a_pipe_is_refused_at_once(void **state)
{
    const char *path = write_scratch("");
    struct dray_credentials *credentials = NULL;
    struct dray_error err = { 0 };
    int rc;

    (void)state;
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(10); /* nobody ever writes into it */
    rc = dray_credentials_new(path, NULL, NULL, &credentials, &err);
    alarm(0);
    unlink(path);
    assert_int_equal(rc, DRAY_EINVAL);
    assert_contains(err.text, path);
}

/* C-5 */
static void the_command_line_beats_the_file_but_not_at_mirrors(void **state)
{
    const char *path = write_scratch("{\"auths\":{\"a.test\":{\"username\":\"file\"}}}");
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = NULL;

    (void)state;
    assert_ok(dray_credentials_new(path, "me:pw:x", NULL, &credentials, NULL));
    unlink(path);
    assert_string_equal(find(credentials, "a.test", "x"), "me:pw:x");
    assert_string_equal(find(credentials, "b.test", "x"), "me:pw:x");
    assert_string_equal(dray_credentials_find(credentials, "a.test", "x", false, NULL)->basic.text,
                        "file:");
    assert_null(dray_credentials_find(credentials, "b.test", "x", false, NULL));
}

static void credentials_need_a_user_and_a_colon(void **state)
{
    static const char *const rows[] = { "", "hunter2", ":hunter2" };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dray_credentials *credentials = NULL;
        struct dray_error err = { 0 };

        assert_int_equal(dray_credentials_new(NULL, rows[i], NULL, &credentials, &err),
                         DRAY_EINVAL);
        assert_lacks(err.text, "hunter2");
    }
}

static void basic_is_encoded_as_rfc_7617_says(void **state)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials =
        parse("{\"auths\":{\"a.test\":{\"username\":\"Aladdin\",\"password\":\"open sesame\"}}}");
    DRAY_AUTO_SECRET struct dray_secret value = { 0 };

    (void)state;
    assert_ok(dray_credential_basic(dray_credentials_find(credentials, "a.test", "x", true, NULL),
                                    &value));
    assert_string_equal(value.text, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_int_equal(value.len, strlen(value.text));
}

#define helper_test(fn) cmocka_unit_test_setup_teardown(fn, set_up_helpers, tear_down_helpers)
#define place_test(fn)  cmocka_unit_test_setup_teardown(fn, set_up_places, tear_down_places)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_of_an_entry_is_read),
        cmocka_unit_test(scheme_and_path_are_stripped_and_exact_keys_win),
        cmocka_unit_test(docker_hub_is_known_by_all_its_names),
        cmocka_unit_test(a_namespace_key_holds_for_what_is_below_it),
        cmocka_unit_test(a_malformed_file_is_refused_without_being_quoted),
        helper_test(a_host_s_own_helper_beats_the_common_one_and_that_beats_the_file),
        helper_test(a_helper_that_fails_is_told_once_and_knows_nothing),
        helper_test(threads_that_want_the_same_ask_once),
        helper_test(who_is_canceled_asks_nobody_and_another_may),
        place_test(the_files_of_docker_and_podman_are_read_in_turn),
        place_test(the_environment_beats_the_usual_files_and_a_named_file_is_alone),
        cmocka_unit_test(a_named_file_must_be_there),
        cmocka_unit_test(a_pipe_is_refused_at_once),
        cmocka_unit_test(the_command_line_beats_the_file_but_not_at_mirrors),
        cmocka_unit_test(credentials_need_a_user_and_a_colon),
        cmocka_unit_test(basic_is_encoded_as_rfc_7617_says),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
