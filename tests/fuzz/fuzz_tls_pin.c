/* fuzz_tls_pin.c - a TLSA record from the input: what is called usable OpenSSL takes, and a set
 * without a usable record never begins a handshake.
 */
#include "base/check.h"
#include "base/limits.h"
#include "net/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_context *context;
    if (context == NULL) {
        enum err err = tls_client_new(TLS_VERIFY_DANE, SLICE(""), &context);
        CHECK(err == ERR_OK);
    }
    if (size < 3) {
        return 0;
    }
    struct tls_pin pin = {data[0], data[1], data[2], slice_of(data + 3, size - 3)};
    struct tls_pins pins = {&pin, 1, {SLICE("dest.example"), SLICE("")}};
    struct buf plain;
    struct buf cipher;
    buf_init(&plain, 64 * KIB);
    buf_init(&cipher, 64 * KIB);
    bool is_usable = tls_pin_is_usable(&pin);
    struct tls *tls = tls_new_pinned(context, SLICE("mx.example"), &pins);
    enum tls_state state = tls_feed(tls, SLICE(""), &plain, &cipher);
    CHECK((state == TLS_HANDSHAKE) == is_usable);
    CHECK_IF(!is_usable, cipher.len == 0);
    tls_free(tls);
    buf_fini(&plain);
    buf_fini(&cipher);
    return 0;
}
