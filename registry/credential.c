#include "registry/credential.h"

#include <sodium.h>
#include <string.h>

#include <dray/error.h>

void dray_credential_done(struct dray_credential *credential)
{
    dray_secret_done(&credential->basic);
    dray_secret_done(&credential->identity_token);
    dray_secret_done(&credential->registry_token);
}

bool dray_credential_is_empty(const struct dray_credential *credential)
{
    return dray_secret_empty(&credential->basic) &&
           dray_secret_empty(&credential->identity_token) &&
           dray_secret_empty(&credential->registry_token);
}

int dray_credential_set_user(struct dray_credential *credential, const char *user,
                             const char *password)
{
    struct dray_secret *basic = &credential->basic;
    size_t user_len = strlen(user);
    size_t password_len = strlen(password);

    if (user_len == 0 || strchr(user, ':'))
        return DRAY_EINVAL;
    if (dray_secret_resize(basic, user_len + 1 + password_len) < 0)
        return DRAY_ENOMEM;
    memcpy(basic->text, user, user_len);
    basic->text[user_len] = ':';
    memcpy(basic->text + user_len + 1, password, password_len);
    return DRAY_OK;
}

int dray_credential_set_pair(struct dray_credential *credential, const char *pair, size_t len)
{
    const char *colon = memchr(pair, ':', len);

    if (!colon || colon == pair)
        return DRAY_EINVAL;
    return dray_secret_set(&credential->basic, pair, len);
}

int dray_credential_basic(const struct dray_credential *credential, struct dray_secret *ret_value)
{
    static const char scheme[] = "Basic ";
    const struct dray_secret *basic = &credential->basic;
    size_t size = sodium_base64_encoded_len(basic->len, sodium_base64_VARIANT_ORIGINAL);

    if (dray_secret_resize(ret_value, sizeof(scheme) - 1 + size - 1) < 0)
        return DRAY_ENOMEM;
    memcpy(ret_value->text, scheme, sizeof(scheme) - 1);
    sodium_bin2base64(ret_value->text + sizeof(scheme) - 1, size,
                      (const unsigned char *)basic->text, basic->len,
                      sodium_base64_VARIANT_ORIGINAL);
    return DRAY_OK;
}
