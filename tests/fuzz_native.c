/* libFuzzer's target for the kernel: whatever bytes it makes of any members and pieces, zlib gives them
   back; whatever offsets come with texts, nothing outside them is read or written.
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

/* The same behind local headers and names, which are parts of the data; labels of any bytes fold within their room. */
static void archive(const uint8_t *data, size_t size, uint8_t step) {
    enum { MOST = 8, NAME = 5 };
    int64_t cuts[MOST + 1], ends[MOST], created[MOST], starts[MOST], sizes[MOST];
    uint32_t crcs[MOST];
    uint8_t model[CENTRAL] = {0};
    const size_t count = size / (MOST * (NAME + 1)) ? MOST : 0;
    size_t room = SPARE + count * (LOCAL + NAME);
    cuts[0] = 0;
    for (size_t i = 0; i < count; i++) {
        cuts[i + 1] = (int64_t)(size * (i + 1) / MOST);
        ends[i] = (int64_t)(i * (NAME + 1) + NAME);
        memcpy(created + i, data + 8 * i % (size - 7), 8);
        room += deflate_bound((size_t)(cuts[i + 1] - cuts[i]));
    }
    const Names names = {data, ends, created};
    uint8_t *out = malloc(room), *central = malloc(count * (CENTRAL + NAME) + 1);
    CHECK(out != NULL && central != NULL);
    size_t written =
        zip_members(data, cuts, count, data, 0, &names, model, out, room, central, starts, sizes, crcs);
    CHECK(written <= room - SPARE);
    size_t at = 0;
    for (size_t i = 0; i < count; at += LOCAL + NAME + (size_t)sizes[i++]) {
        const uint8_t *own = data + cuts[i];
        const size_t own_size = (size_t)(cuts[i + 1] - cuts[i]);
        CHECK((size_t)starts[i] == at && load32(out + at + 14) == crc32(0, own, (uInt)own_size));
        CHECK(load32(out + at + 18) == sizes[i] && load32(out + at + 22) == own_size && out[at + 26] == NAME);
        CHECK(!memcmp(out + at + LOCAL, data + i * (NAME + 1), NAME));
        inflates_to(out + at + LOCAL + NAME, (size_t)sizes[i], own, own_size);
    }
    CHECK(at == written);
    free(central);
    free(out);
    for (size_t begin = 0; begin < size && begin < 600; begin += 1 + step % 41) {
        size_t label_size = size - begin < step ? size - begin : step;
        uint8_t *label = exactly(data + begin, label_size), *folded = malloc(4 * label_size + 1);
        CHECK(folded != NULL);
        const size_t length = fold_label(label, label_size, folded);
        CHECK(length == SIZE_MAX || length <= 4 * label_size);
        free(folded);
        free(label);
    }
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

/* The code points of UTF-8, read one by one. */
static int reads_as_utf8(const uint8_t *at, size_t size) {
    for (size_t i = 0; i < size;) {
        size_t more = at[i] < 0x80 ? 0 : at[i] >= 0xc0 && at[i] < 0xe0 ? 1 : at[i] >= 0xe0 && at[i] < 0xf0 ? 2 : 3;
        if ((at[i] >= 0x80 && at[i] < 0xc0) || at[i] >= 0xf8 || more >= size - i) return 0;
        uint32_t point = more ? at[i] & (0x3fu >> more) : at[i];
        for (size_t j = 1; j <= more; j++) {
            if ((at[i + j] & 0xc0) != 0x80) return 0;
            point = point << 6 | (at[i + j] & 0x3f);
        }
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return 0;
        i += more + 1;
    }
    return 1;
}

/* Columns of text with offsets that may be wrong, as strings, cells and words. */
static void texts(const uint8_t *input, size_t size, uint8_t step) {
    enum { ROWS = 12 };
    uint32_t given[ROWS + 1];
    uint64_t wide[ROWS + 1];
    uint8_t *data = exactly(input, size), which[ROWS];
    int rise = 1, sound = 1;
    for (size_t i = 0; i <= ROWS; i++) {
        wide[i] = given[i] = (uint32_t)(step & 1 && size ? input[i % size] * (size_t)(step >> 1) : i * size / ROWS);
        rise &= given[i] <= size && (!i || given[i] >= given[i - 1]);
    }
    for (size_t i = 0; rise && i < ROWS; i++) sound &= reads_as_utf8(data + given[i], given[i + 1] - given[i]);
    uint8_t *offsets = exactly((uint8_t *)given, sizeof given);
    CHECK(are_utf8(offsets, 4, ROWS, data, size) == (rise && sound));
    CHECK(are_utf8((uint8_t *)wide, 8, ROWS, data, size) == (rise && sound));
    const uint8_t valid[] = {step, (uint8_t)~step};
    uint8_t *times = exactly((uint8_t *)wide, 8 * ROWS);
    if (size >= 8 * ROWS) memcpy(times, data, 8 * ROWS);
    Column columns[3] = {{NULL, 0, offsets, data, size, 0, NULL, NULL, 0},
                         {valid, 3, offsets, data, size, 0, NULL, NULL, 0},
                         {NULL, 0, NULL, NULL, 0, 0, times, times, step & 4 ? 1 : ROWS}};
    const Word words[] = {{(const uint8_t *)"", 0}, {data, size < 9 ? size : 9}, {(const uint8_t *)"agent", 5}};
    CHECK(find_words(columns, ROWS, words, 3, which) == 0 || !rise);
    for (size_t i = 0; rise && i < ROWS; i++) CHECK(which[i] <= 3);
    size_t doubled;
    CHECK(count_doubled(columns, ROWS, &doubled) == 0 ? doubled < ROWS : !rise);
    const int64_t bounds[] = {0, step % ROWS, ROWS};
    int64_t cuts[3];
    size_t room = 4 * size + ROWS * (35 + 8 + 3) + 32, longest;
    if (step & 2) room = room * step / 255;
    uint8_t *out = malloc(room + 1);
    CHECK(out != NULL);
    size_t written = render_csv(columns, 3, ROWS, (const uint8_t *)"\r\n", 2, bounds, 3, cuts, &longest, out, room);
    CHECK(written == SIZE_MAX ? !rise || step & 2 : written <= room && (size_t)cuts[2] == written && longest <= size);
    free(out);
    free(times);
    free(offsets);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 4) return 0;
    uint8_t mode = input[0], step = input[1];
    texts(input, size, step);
    archive(input, size, step);
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
