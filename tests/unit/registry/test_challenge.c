#include "registry/challenge.h"

#include "tests/unit/registry/fixture.h"

/* Scheme, realm, service and scope of each challenge in a value, in one text. */
static const char *summary(const char *value)
{
    static const char *const schemes[] = { "other", "basic", "bearer" };
    static char text[8192];
    struct dray_challenge challenge;
    size_t len = 0;

    text[0] = '\0';
    while (dray_challenge_next(&value, &challenge))
        len += (size_t)snprintf(text + len, sizeof(text) - len, "[%s|%s|%s|%s%s]",
                                schemes[challenge.scheme], challenge.realm, challenge.service,
                                challenge.scope, challenge.overlong ? "|overlong" : "");
    return text;
}

static void challenges_are_read_as_rfc_9110_has_them(void **state)
{
    static const char *const rows[][2] = {
        { "Bearer realm=\"https://a/token\",service=\"s\",scope=\"repository:x:pull\"",
          "[bearer|https://a/token|s|repository:x:pull]" },
        { "Basic realm=\"Registry\"", "[basic|Registry||]" },
        { "bEARER  REALM = \"r\" , Service=s ,, scope=\"x\"", "[bearer|r|s|x]" },
        { "Bearer realm=\"r\",scope=\"repository:a:pull,push repository:b:pull\"",
          "[bearer|r||repository:a:pull,push repository:b:pull]" },
        { "Basic realm=\"b\", Bearer realm=\"t\",service=\"s\"", "[basic|b||][bearer|t|s|]" },
        { "Bearer realm=\"a \\\"b\\\" \\\\c\"", "[bearer|a \"b\" \\c||]" },
        { "Bearer realm=https://a/token?x=1,service=s", "[bearer|https://a/token?x=1|s|]" },
        { "Negotiate YWJj==, Basic realm=\"b\"", "[other|||][basic|b||]" },
        { "Negotiate, Basic realm=\"b\"", "[other|||][basic|b||]" },
        { "Negotiate", "[other|||]" },
        { "Digest realm=\"d\", nonce=\"n\", Bearer realm=\"t\"", "[other|d||][bearer|t||]" },
        { "Bearer realm=\"first\",realm=\"second\"", "[bearer|first||]" },
        { "Bearer realm=\"r\",error=\"invalid_token\",x=\"a, Basic realm=\\\"no\\\"\"",
          "[bearer|r||]" },
        { ",, ,Basic realm=\"b\" ,", "[basic|b||]" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(summary(rows[i][0]), rows[i][1]);
}

static void junk_ends_the_reading(void **state)
{
    static const char *const rows[][2] = {
        { "", "" },
        { "  ,  ", "" },
        { "\"Bearer\" realm=\"r\"", "" },
        { "Bearer=realm", "" },
        { "Bearer realm=\"open", "[bearer|open||]" },
        { "Bearer realm=", "[bearer|||]" },
        { "Bearer realm", "[bearer|||][other|||]" },
        { "Bearer =x", "[bearer|||]" },
        { "Bearer\x80realm=\"r\"", "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(summary(rows[i][0]), rows[i][1]);
}

static void a_value_that_does_not_fit_spoils_its_challenge_only(void **state)
{
    static char value[DRAY_CHALLENGE_VALUE_MAX + 100];
    char longest[DRAY_CHALLENGE_VALUE_MAX + 1];
    struct dray_challenge challenge;
    const char *cursor = value;

    (void)state;
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    snprintf(value, sizeof(value), "Bearer realm=\"%s\"", longest);
    assert_true(dray_challenge_next(&cursor, &challenge));
    assert_false(challenge.overlong);
    assert_string_equal(challenge.realm, longest);

    cursor = value;
    snprintf(value, sizeof(value), "Bearer realm=\"%sx\", Basic realm=\"b\"", longest);
    assert_string_equal(summary(value), "[bearer||||overlong][basic|b||]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(challenges_are_read_as_rfc_9110_has_them),
        cmocka_unit_test(junk_ends_the_reading),
        cmocka_unit_test(a_value_that_does_not_fit_spoils_its_challenge_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
