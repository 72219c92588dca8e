/* libFuzzer's target for the kernel: whatever bytes it makes of any members and pieces, zlib gives them back.
   `.ci/fuzz SECONDS` builds it with AddressSanitizer and UBSan and runs it. */

#define KERNEL_ONLY
#include "../export_engine/_native.c"

#include <stdio.h>
#include <zlib.h>

#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                       \
        }                                                                  \
    } while (0)

/* A copy of exactly its size, so that a byte read beyond it is seen. */
static uint8_t *exactly(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    CHECK(copy != NULL);
    if (size) memcpy(copy, data, size);
    return size ? copy : (free(copy), malloc(0));
}

/* A whole raw deflate stream, and nothing behind it, is `size` bytes of `data`. */
static void inflates_to(uint8_t *deflated, size_t length, const uint8_t *data, size_t size) {
    uint8_t *out = malloc(size + 1);
    z_stream stream = {0};
    CHECK(out != NULL && inflateInit2(&stream, -15) == Z_OK);
    stream.next_in = deflated, stream.avail_in = (uInt)length;
    stream.next_out = out, stream.avail_out = (uInt)(size + 1);
    CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END);
    CHECK(stream.avail_in == 0 && stream.total_out == size && memcmp(out, data, size) == 0);
    inflateEnd(&stream);
    free(out);
}

static void members(const uint8_t *data, size_t size, const uint8_t *head, size_t head_size, uint8_t step) {
    enum { MOST = 64 };
    int64_t cuts[MOST + 1], ends[MOST];
    uint32_t crcs[MOST];
    size_t count = 0, room = SPARE;
    cuts[0] = 0;
    for (size_t at = 0; at < size && count < MOST; count++) {
        size_t some = count == MOST - 1 ? size - at : (size_t)(step + 1) * (1 + data[at] % 64);
        at += some < size - at ? some : size - at;
        cuts[count + 1] = (int64_t)at;
        room += deflate_bound(head_size + (size_t)(cuts[count + 1] - cuts[count]));
    }
    uint8_t *out = malloc(room), *whole = malloc(head_size + size + 1);
    CHECK(out != NULL && whole != NULL);
    size_t written = deflate_members(data, cuts, count, head, head_size, out, room, ends, crcs);
    CHECK(written <= room - SPARE);
    int64_t begin = 0;
    for (size_t i = 0; i < count; i++) {
        size_t own = (size_t)(cuts[i + 1] - cuts[i]);
        if (head_size) memcpy(whole, head, head_size);
        if (own) memcpy(whole + head_size, data + cuts[i], own);
        inflates_to(out + begin, (size_t)(ends[i] - begin), whole, head_size + own);
        CHECK(crcs[i] == crc32(0, whole, (uInt)(head_size + own)));
        begin = ends[i];
    }
    CHECK((size_t)begin == written);
    free(whole);
    free(out);
}

static void pieces(const uint8_t *data, size_t size, size_t step) {
    uint8_t *out = malloc(1);
    size_t length = 0;
    for (size_t at = 0, next; at < size || !length; at = next) {
        next = step < size - at ? at + step : size;
        size_t start = at < WINDOW ? at : WINDOW, room = deflate_bound(next - at) + SPARE;
        uint8_t *part = exactly(data + at - start, start + next - at);
        out = realloc(out, length + room);
        CHECK(out != NULL);
        size_t written = deflate_piece(part, start, start + next - at, next == size, out + length, room);
        CHECK(written <= room - SPARE);
        length += written;
        free(part);
        if (next == size) break;
    }
    inflates_to(out, length, data, size);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 4) return 0;
    uint8_t mode = input[0], step = input[1];
    size_t head_size = (size_t)(input[2] | input[3] << 8) % (LONGEST_HEAD + 1);
    input += 4, size -= 4;
    if (head_size > size) head_size = size;
    uint8_t *head = exactly(input, head_size);
    input += head_size, size -= head_size;
    /* What is repeated fills blocks and goes past the window. */
    size_t times = size && mode & 1 ? 1 + (mode >> 1) * (size_t)800 / size : 1;
    uint8_t *data = malloc(size * times ? size * times : 1);
    CHECK(data != NULL);
    for (size_t i = 0; i < times && size; i++) memcpy(data + i * size, input, size);
    if (times > 1)
        for (size_t i = 0, noise = step; i < size * times; i += 1 + noise % 97, noise = noise * 1664525 + 1013904223)
            data[i] ^= (uint8_t)(noise >> 16 & step);
    members(data, size * times, head, head_size, step);
    pieces(data, size * times, 1 + (size_t)step * 300 + size * times / 16);
    free(data);
    free(head);
    return 0;
}
