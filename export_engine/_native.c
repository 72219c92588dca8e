/* What is done for each byte and each member of an export, for a whole group of members in one call, without the
   interpreter's lock: rendering CSV, deflate (RFC 1951) with CRC-32, laying out. Bytes, spans and offsets come in; nothing
   here knows a column or a conversation.

   What a call does depends on the bytes it is given and on nothing else: not on how members were put together into
   calls, on threads, processor or compiler. There is no floating point, every load of more than a byte is little-endian
   by construction, and the tables are constants (`_tables.h`, made by `benchmarks/train_tables.py`).

   How a member is made:

   - A search by hash, one probe: the last place where the same four bytes stood. Where a row of CSV begins (`\n"`), what
     follows up to the next quote is taken to be an id, in which nothing would be found, and what follows it is compared
     with what followed the id of the row before. These are guesses about where it pays to look; what is found is always
     compared byte by byte, so that any bytes may be given.
   - What was found becomes tokens, their symbols are counted, and only then the tables for the block are chosen by their
     exact cost: the trained ones, deflate's fixed ones, the block's own, or none (a stored block).

   Memory: what is written is bounded before it is written. Tokens, `CAPACITY` of them, end a block; a block's size in
   bits is known exactly before its first bit is written, and it is checked against the room left. */

#ifndef KERNEL_ONLY
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#endif

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _MSC_VER
#include <intrin.h>
#endif

/* The number in the backend's name. To be raised with every change after which some data would give other bytes. */
#define KERNEL_VERSION 1

#if defined(__GNUC__) || defined(__clang__)
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#else
#define LIKELY(condition) (condition)
#define UNLIKELY(condition) (condition)
#endif

/* --- words of memory ---------------------------------------------------------------------------------------------- */

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LITTLE32(value) __builtin_bswap32(value)
#define LITTLE64(value) __builtin_bswap64(value)
#else
#define LITTLE32(value) (value)
#define LITTLE64(value) (value)
#endif

static inline uint32_t load32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return LITTLE32(value);
}

static inline uint64_t load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return LITTLE64(value);
}

static inline void store64(uint8_t *at, uint64_t value) {
    value = LITTLE64(value);
    memcpy(at, &value, sizeof value);
}

/* Numbers in the machine's order, as Arrow has them. */
static inline uint32_t loaded32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t loaded64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* The place of the lowest bit that is set; `value` is not 0. */
static inline unsigned lowest_bit(uint64_t value) {
#if defined(_MSC_VER) && defined(_M_IX86)
    unsigned long at;
    if (_BitScanForward(&at, (unsigned long)value)) return at;
    _BitScanForward(&at, (unsigned long)(value >> 32));
    return at + 32;
#elif defined(_MSC_VER)
    unsigned long at;
    _BitScanForward64(&at, value);
    return at;
#else
    return (unsigned)__builtin_ctzll(value);
#endif
}

/* The place of the highest bit that is set; `value` is not 0. */
static inline unsigned highest_bit(uint32_t value) {
#ifdef _MSC_VER
    unsigned long at;
    _BitScanReverse(&at, value);
    return at;
#else
    return 31u - (unsigned)__builtin_clz(value);
#endif
}

/* Bytes before the first that is not ASCII. */
static inline size_t ascii_before(const uint8_t *at, size_t size) {
    size_t done = 0;
    for (; size - done >= 32; done += 32)
        if ((load64(at + done) | load64(at + done + 8) | load64(at + done + 16) | load64(at + done + 24)) &
            0x8080808080808080u)
            break;
    while (done < size && at[done] < 0x80) done++;
    return done;
}

/* --- symbols ------------------------------------------------------------------------------------------------------ */

/* Both alphabets of deflate in one: literals and lengths from 0, distances from `DISTANCES` on. A token is a symbol in
   the low 16 bits and the value of its extra bits above; a match is two tokens. */
enum { END_OF_BLOCK = 256, LENGTHS = 257, LITERALS = 286, DISTANCES = 288, SYMBOLS = 318, PADDED = 320 };
enum { LONGEST_MATCH = 258, WINDOW = 32768, STORED_BLOCK = 65535, LONGEST_CODE = 15 };

/* What a symbol becomes, packed: code in 16 bits, its length in 8, the length with the extra bits in 8. */
typedef uint32_t Code;
#define CODE(bits, length, extra) ((Code)(bits) | (Code)(length) << 16 | (Code)((length) + (extra)) << 24)

/* A table that is known beforehand, with the bits of the block header that announces it, 32 a word. */
typedef struct {
    const uint32_t *header;
    size_t header_bits;
    Code codes[PADDED];
} Table;

/* The number of tables that are tried with small blocks, and how small those are. With larger ones a block's own table
   is worth its time. `OWN_PAYS` sixty-fourths of what the block's own table would take is what a known one may. */
enum { LANES = 32, SMALL_BLOCK = 1000, ANNOUNCED = 70, OWN_PAYS = 76 };
#include "_tables.h"

static const uint8_t EXTRA[PADDED] = {
    [LENGTHS + 8] = 1,    [LENGTHS + 9] = 1,    [LENGTHS + 10] = 1,   [LENGTHS + 11] = 1,   [LENGTHS + 12] = 2,
    [LENGTHS + 13] = 2,   [LENGTHS + 14] = 2,   [LENGTHS + 15] = 2,   [LENGTHS + 16] = 3,   [LENGTHS + 17] = 3,
    [LENGTHS + 18] = 3,   [LENGTHS + 19] = 3,   [LENGTHS + 20] = 4,   [LENGTHS + 21] = 4,   [LENGTHS + 22] = 4,
    [LENGTHS + 23] = 4,   [LENGTHS + 24] = 5,   [LENGTHS + 25] = 5,   [LENGTHS + 26] = 5,   [LENGTHS + 27] = 5,
    [DISTANCES + 4] = 1,  [DISTANCES + 5] = 1,  [DISTANCES + 6] = 2,  [DISTANCES + 7] = 2,  [DISTANCES + 8] = 3,
    [DISTANCES + 9] = 3,  [DISTANCES + 10] = 4, [DISTANCES + 11] = 4, [DISTANCES + 12] = 5, [DISTANCES + 13] = 5,
    [DISTANCES + 14] = 6, [DISTANCES + 15] = 6, [DISTANCES + 16] = 7, [DISTANCES + 17] = 7, [DISTANCES + 18] = 8,
    [DISTANCES + 19] = 8, [DISTANCES + 20] = 9, [DISTANCES + 21] = 9, [DISTANCES + 22] = 10, [DISTANCES + 23] = 10,
    [DISTANCES + 24] = 11, [DISTANCES + 25] = 11, [DISTANCES + 26] = 12, [DISTANCES + 27] = 12, [DISTANCES + 28] = 13,
    [DISTANCES + 29] = 13,
};

/* The token of a match's length, from 3 to 258. */
static inline uint32_t length_token(size_t length) {
    uint32_t over = (uint32_t)length - 3;
    if (over < 8) return LENGTHS + over;
    if (over == 255) return LENGTHS + 28;
    uint32_t extra = highest_bit(over) - 2;
    return (LENGTHS + 4 * extra + (over >> extra)) | (over & ((1u << extra) - 1)) << 16;
}

/* The token of a match's distance, from 1 to 32768. */
static inline uint32_t distance_token(uint32_t distance) {
    uint32_t over = distance - 1;
    if (over < 4) return DISTANCES + over;
    uint32_t extra = highest_bit(over) - 1;
    return (DISTANCES + 2 * extra + (over >> extra)) | (over & ((1u << extra) - 1)) << 16;
}

/* --- the search --------------------------------------------------------------------------------------------------- */

enum { CAPACITY = 32000, ENOUGH = CAPACITY - 1024, HASH_BITS = 13, TAIL = 12, LONGEST_ID = 48, SLACK = 64 };

/* `last[hash]` is the last place with that hash: in the low half its position, in the high half the four bytes that
   stand there, mixed with `salt`, so that a glance tells whether the place is worth a look. Positions rise from member
   to member by more than the window, so that no place of an earlier member is ever near enough, and the table need not
   be cleared between members: what an earlier one left there is as good as nothing. `salt` makes such leftovers look
   wrong at that glance. */
typedef struct {
    uint64_t last[1 << HASH_BITS];
    uint32_t origin; /* the position of the first byte of `data` */
    uint32_t salt;
    unsigned shift; /* how far a hash is shifted: a small member wants a small table, which stays in the cache */
    const uint8_t *data, *at, *end;
    const uint8_t *id_end; /* where the id of the row before ended, or NULL */
    uint32_t tokens[CAPACITY + SLACK];
    size_t count;
} Search;

static void search_reset(Search *search) {
    memset(search->last, 0, sizeof search->last);
    search->origin = 2 * WINDOW;
    search->data = search->end = NULL;
}

/* Begin with other data: `size` bytes, of which those before `start` are a dictionary. `size` is below 2 GiB. */
static void search_begin(Search *search, const uint8_t *data, size_t start, size_t size);

static inline size_t hash_of(uint32_t bytes, unsigned shift) { return (bytes * 2654435761u) >> shift; }

/* Note the four bytes at `at` as the last of their hash. */
#define NOTE(place)                                                                              \
    do {                                                                                         \
        uint32_t noted_ = load32(place);                                                         \
        last[hash_of(noted_, shift)] = (uint64_t)(noted_ ^ salt) << 32 | (uint32_t)(origin + (uint32_t)((place) - data)); \
    } while (0)

static void search_begin(Search *search, const uint8_t *data, size_t start, size_t size) {
    uint32_t before = (uint32_t)(search->end - search->data);
    search->origin += before + WINDOW + 1;
    if (search->origin > UINT32_MAX / 4) search_reset(search);
    search->salt = search->origin * 2654435761u;
    search->data = data;
    search->at = data + start;
    search->end = data + size;
    search->id_end = NULL;
    uint64_t *last = search->last;
    uint32_t salt = search->salt, origin = search->origin;
    unsigned shift = search->shift = 32 - (size < 2048 ? 11 : size < 16384 ? 12 : HASH_BITS);
    for (const uint8_t *at = data; at < data + start && data + size - at >= 4; at++) NOTE(at);
}

/* How many bytes at `b` are as those at `a`, before it; `most` may be read at both. */
static inline size_t same(const uint8_t *a, const uint8_t *b, size_t most) {
    size_t count = 0;
    for (; count + 8 <= most; count += 8) {
        uint64_t differ = load64(a + count) ^ load64(b + count);
        if (differ) return count + (lowest_bit(differ) >> 3);
    }
    while (count < most && a[count] == b[count]) count++;
    return count;
}

/* The bytes before the next quote, at most `LONGEST_ID`, all of which may be read and eight more. */
static inline size_t before_quote(const uint8_t *at) {
    for (size_t count = 0; count < LONGEST_ID; count += 8) {
        uint64_t differ = load64(at + count) ^ 0x2222222222222222u;
        uint64_t found = (differ - 0x0101010101010101u) & ~differ & 0x8080808080808080u;
        if (found) return count + (lowest_bit(found) >> 3);
    }
    return LONGEST_ID;
}

/* Turn bytes into tokens until there are no more or the block is full. A byte makes one token at the most. */
static void search_run(Search *search) {
    uint64_t *const last = search->last;
    const uint32_t salt = search->salt, origin = search->origin;
    const unsigned shift = search->shift;
    const uint8_t *const data = search->data, *const end = search->end;
    const uint8_t *at = search->at, *id_end = search->id_end;
    uint32_t *token = search->tokens + search->count;
    while (at < end && token < search->tokens + ENOUGH) {
        size_t room = (size_t)(search->tokens + CAPACITY - token), left = (size_t)(end - at);
        int final = left <= room;
        const uint8_t *stop = final ? (left > TAIL ? end - TAIL : at) : at + room - TAIL;
        if (at < stop && at == data && *at == '"') {
            *token++ = *at++;
            goto row;
        }
        while (at < stop) {
            uint32_t bytes = load32(at), position = origin + (uint32_t)(at - data);
            uint64_t *slot = last + hash_of(bytes, shift), found = *slot;
            *slot = (uint64_t)(bytes ^ salt) << 32 | position;
            if (UNLIKELY((uint32_t)(found >> 32) == (bytes ^ salt)) && position - (uint32_t)found <= WINDOW) {
                size_t distance = position - (uint32_t)found;
                left = (size_t)(end - at);
                size_t length = 4 + same(at - distance + 4, at + 4, (left < LONGEST_MATCH ? left : LONGEST_MATCH) - 4);
            match:
                *token++ = length_token(length);
                *token++ = distance_token((uint32_t)distance);
                if (at + 1 < stop) NOTE(at + 1);
                at += length;
                if (at >= stop) break;
                NOTE(at - 3);
                NOTE(at - 1);
                if (at[-1] == '"' && at[-2] == '\n') {
                row:
                    if ((size_t)(stop - at) > LONGEST_ID + 8) {
                        size_t id = before_quote(at);
                        for (size_t i = 0; i < id; i += 8)
                            for (size_t j = 0; j < 8; j++) token[i + j] = at[i + j];
                        token += id;
                        at += id;
                        const uint8_t *before = id_end;
                        id_end = at;
                        if (before != NULL && (size_t)(at - before) <= WINDOW) {
                            distance = (size_t)(at - before);
                            left = (size_t)(end - at);
                            length = same(before, at, left < LONGEST_MATCH ? left : LONGEST_MATCH);
                            if (length >= 4) {
                                NOTE(at);
                                goto match;
                            }
                        }
                    }
                }
            } else {
                *token++ = *at++;
            }
        }
        if (final)
            while (at < end) *token++ = *at++;
    }
    search->at = at;
    search->id_end = id_end;
    search->count = (size_t)(token - search->tokens);
}

/* --- bits out ----------------------------------------------------------------------------------------------------- */

/* Up to 57 bits that wait, and where they go. */
typedef struct {
    uint64_t bits;
    unsigned count;
    uint8_t *to;
    uint8_t *limit; /* eight bytes may be written anywhere before it */
} Bits;

static inline void bits_put(Bits *out, uint64_t bits, unsigned count) {
    out->bits |= bits << out->count;
    out->count += count;
}

static inline void bits_flush(Bits *out) {
    store64(out->to, out->bits);
    out->to += out->count >> 3;
    out->bits >>= out->count & ~7u;
    out->count &= 7;
}

/* Fill up the byte that was begun. */
static inline void bits_align(Bits *out) {
    out->count = (out->count + 7) & ~7u;
    bits_flush(out);
}

/* The bits of a token. */
static inline uint64_t token_bits(uint32_t token, Code code) {
    return (code & 0xffff) | (uint64_t)(token >> 16) << (code >> 16 & 15);
}

/* Two tokens take at most 15 + 5 + 15 + 13 bits. They are joined before they join the rest, which has to wait for what
   came before it; so are four, which nearly always leave room for the seven bits that may wait already. */
static void put_tokens(Bits *out, const uint32_t *tokens, size_t count, const Code *codes) {
    Bits bits = *out;
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const uint32_t *at = tokens + i;
        const Code a = codes[at[0] & 511], b = codes[at[1] & 511], c = codes[at[2] & 511], d = codes[at[3] & 511];
        const uint64_t two = token_bits(at[0], a) | token_bits(at[1], b) << (a >> 24);
        const uint64_t more = token_bits(at[2], c) | token_bits(at[3], d) << (c >> 24);
        const unsigned two_count = (a >> 24) + (b >> 24), more_count = (c >> 24) + (d >> 24);
        if (LIKELY(two_count + more_count <= 57 - 7)) {
            bits_put(&bits, two | more << two_count, two_count + more_count);
        } else {
            bits_put(&bits, two, two_count);
            bits_flush(&bits);
            bits_put(&bits, more, more_count);
        }
        bits_flush(&bits);
    }
    for (; i + 2 <= count; i += 2) {
        uint32_t first = tokens[i], second = tokens[i + 1];
        Code code = codes[first & 511], next = codes[second & 511];
        bits_put(&bits, token_bits(first, code) | token_bits(second, next) << (code >> 24), (code >> 24) + (next >> 24));
        bits_flush(&bits);
    }
    if (i < count) {
        Code code = codes[tokens[i] & 511];
        bits_put(&bits, token_bits(tokens[i], code), code >> 24);
        bits_flush(&bits);
    }
    *out = bits;
}

/* --- a block's own table ------------------------------------------------------------------------------------------ */

/* Binary logarithm in units of 1/32; `value` is from 1 to 65535. */
static inline uint32_t log_of(uint32_t value) {
    if (value < 1024) return LOG2[value];
    unsigned over = highest_bit(value) - 9;
    return LOG2[value >> over] + 32 * over;
}

/* The symbols of one alphabet that a block has, in order, how often, and the logarithms of that. */
typedef struct {
    size_t size;
    uint32_t total;
    uint16_t symbols[LITERALS + 1], counts[LITERALS + 1], logs[LITERALS + 1];
} Used;

static void used_find(Used *used, const uint16_t *counts, const uint16_t *more, size_t size) {
    size_t found = 0;
    for (size_t i = 0; i < size; i++) {
        uint16_t count = (uint16_t)(counts[i] + more[i]);
        used->symbols[found] = (uint16_t)i;
        used->counts[found] = count;
        found += count != 0;
    }
    used->size = found;
    used->total = 0;
    for (size_t i = 0; i < found; i++) {
        used->total += used->counts[i];
        used->logs[i] = (uint16_t)log_of(used->counts[i]);
    }
}

/* The entropy of what is used, in bits. */
static size_t used_entropy(const Used *used) {
    if (used->size < 2) return used->total;
    uint64_t saved = 0;
    for (size_t i = 0; i < used->size; i++) saved += (uint32_t)used->counts[i] * used->logs[i];
    return (size_t)(((uint64_t)used->total * log_of(used->total) - saved) >> 5);
}

/* Lengths of a complete code for what is used, at most `longest` bits each, in the order of `used`.

   Not Huffman's: a symbol gets its ideal length rounded up or down, down where that costs least room for what it saves,
   and what room is left goes to whom it helps. It takes no sort and no tree, and comes within half a percent. */
static void code_lengths(const Used *used, unsigned longest, uint8_t *lengths) {
    const size_t size = used->size;
    if (size < 2) {
        lengths[0] = 1;
        return;
    }
    const uint32_t whole = 1u << longest, log_total = log_of(used->total);
    uint32_t gain[32] = {0}, taken = 0;
    uint8_t fraction[LITERALS + 1];
    for (size_t i = 0; i < size; i++) {
        uint32_t ideal = log_total - used->logs[i];
        ideal = ideal < 32 ? 32 : ideal >= 32 * longest ? 32 * longest - 1 : ideal;
        uint32_t up = (ideal >> 5) + 1;
        lengths[i] = (uint8_t)up;
        fraction[i] = (uint8_t)(ideal & 31);
        gain[ideal & 31] += whole >> up;
        taken += whole >> up;
    }
    /* Everyone rounded up leaves room; it is enough for those with fractions below `threshold`, and some with it. */
    uint32_t room = taken <= whole ? whole - taken : 0, threshold = 0;
    while (threshold < 32 && gain[threshold] <= room) {
        taken += gain[threshold];
        room -= gain[threshold++];
    }
    for (size_t i = 0; i < size; i++) lengths[i] = (uint8_t)(lengths[i] - (fraction[i] < threshold));
    for (size_t i = 0; room && i < size; i++)
        if (fraction[i] == threshold && whole >> lengths[i] <= room) {
            room -= whole >> lengths[i];
            taken += whole >> lengths[i];
            lengths[i]--;
        }
    /* Only where many symbols are at the longest length: others make room for them. */
    while (taken > whole) {
        size_t which = size;
        for (size_t i = 0; i < size; i++)
            if (lengths[i] < longest && (which == size || lengths[i] > lengths[which])) which = i;
        lengths[which]++;
        taken -= whole >> lengths[which];
    }
    /* The room left is a multiple of what the longest code takes, so that someone can always be shortened. */
    for (room = whole - taken; room;)
        for (size_t i = 0; i < size && room; i++)
            if (lengths[i] > 1 && whole >> lengths[i] <= room) {
                room -= whole >> lengths[i];
                lengths[i]--;
            }
}

/* The canonical code of RFC 1951 3.2.2 with each symbol's number of `extra` bits, and the bits that all it says takes. */
static size_t canonical(const Used *used, const uint8_t *lengths, const uint8_t *extra, Code *codes) {
    uint32_t counts[LONGEST_CODE + 1] = {0}, next[LONGEST_CODE + 1], code = 0;
    for (size_t i = 0; i < used->size; i++) counts[lengths[i]]++;
    counts[0] = 0;
    for (unsigned length = 1; length <= LONGEST_CODE; length++) {
        code = (code + counts[length - 1]) << 1;
        next[length] = code;
    }
    size_t bits = 0;
    for (size_t i = 0; i < used->size; i++) {
        unsigned symbol = used->symbols[i], length = lengths[i];
        code = next[length]++;
        code = ((uint32_t)REVERSED[code & 255] << 8 | REVERSED[code >> 8]) >> (16 - length);
        codes[symbol] = CODE(code, length, extra[symbol]);
        bits += used->counts[i] * (length + extra[symbol]);
    }
    return bits;
}

/* A table made for one block, and how RFC 1951 3.2.7 announces it. */
enum { REPEAT = 16, ZEROS = 17, MANY_ZEROS = 18, PRECODES = 19 };
typedef struct {
    Code codes[PADDED];
    Code precodes[PRECODES];
    uint8_t precode_lengths[PRECODES];
    unsigned literals, distances, precodes_sent;
    size_t count;
    uint32_t tokens[2 * SYMBOLS]; /* the alphabet of 19, with the value of extra bits above 16 */
    size_t bits; /* of the whole block, without its first three */
} Own;

static const uint8_t PRECODE_ORDER[PRECODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
static const uint8_t PRECODE_EXTRA[PRECODES] = {[REPEAT] = 2, [ZEROS] = 3, [MANY_ZEROS] = 7};

/* The tokens of the lengths of what is used: zeros in runs, lengths one by one, as runs of one length are rare enough
   for looking for them to cost more than it saves. */
static uint32_t *length_tokens(const Used *used, const uint8_t *lengths, uint32_t *token) {
    unsigned next = 0;
    for (size_t i = 0; i < used->size; i++) {
        unsigned zeros = used->symbols[i] - next;
        next = used->symbols[i] + 1u;
        for (; UNLIKELY(zeros > 138); zeros -= 138) *token++ = MANY_ZEROS | (138 - 11) << 16;
        token[0] = zeros < 3 ? 0 : zeros < 11 ? ZEROS | (zeros - 3) << 16 : MANY_ZEROS | (zeros - 11) << 16;
        token[1] = 0;
        token += (zeros > 0) + (zeros == 2);
        *token++ = lengths[i];
    }
    return token;
}

static void own_make(Own *own, const Used *literals, const Used *distances) {
    uint8_t lengths[LITERALS + 1];
    code_lengths(literals, LONGEST_CODE, lengths);
    own->bits = canonical(literals, lengths, EXTRA, own->codes);
    own->literals = literals->symbols[literals->size - 1] + 1u;
    uint32_t *token = length_tokens(literals, lengths, own->tokens);
    own->distances = 1;
    if (distances->size) {
        code_lengths(distances, LONGEST_CODE, lengths);
        own->bits += canonical(distances, lengths, EXTRA + DISTANCES, own->codes + DISTANCES);
        own->distances = distances->symbols[distances->size - 1] + 1u;
        token = length_tokens(distances, lengths, token);
    } else {
        *token++ = 0;
    }
    own->count = (size_t)(token - own->tokens);

    uint16_t counts[PRECODES] = {0};
    static const uint16_t none[PRECODES] = {0};
    for (size_t i = 0; i < own->count; i++) counts[own->tokens[i] & 31]++;
    Used used;
    used_find(&used, counts, none, PRECODES);
    code_lengths(&used, 7, lengths);
    own->bits += canonical(&used, lengths, PRECODE_EXTRA, own->precodes);
    memset(own->precode_lengths, 0, sizeof own->precode_lengths);
    for (size_t i = 0; i < used.size; i++) own->precode_lengths[used.symbols[i]] = lengths[i];
    own->precodes_sent = PRECODES;
    while (!own->precode_lengths[PRECODE_ORDER[own->precodes_sent - 1]]) own->precodes_sent--;
    if (own->precodes_sent < 4) own->precodes_sent = 4;
    own->bits += 14 + 3 * own->precodes_sent;
}

static void own_announce(const Own *own, Bits *out) {
    bits_put(out, own->literals - LENGTHS, 5);
    bits_put(out, own->distances - 1, 5);
    bits_put(out, own->precodes_sent - 4, 4);
    bits_flush(out);
    uint64_t lengths = 0;
    for (unsigned i = 0; i < own->precodes_sent; i++) lengths |= (uint64_t)own->precode_lengths[PRECODE_ORDER[i]] << 3 * i;
    bits_put(out, lengths & 0x3fffffff, own->precodes_sent < 10 ? 3 * own->precodes_sent : 30);
    bits_flush(out);
    if (own->precodes_sent > 10) bits_put(out, lengths >> 30, 3 * own->precodes_sent - 30);
    bits_flush(out);
    put_tokens(out, own->tokens, own->count, own->precodes);
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

/* What every member begins with, and what has been found out about it: its tokens, their counts, and for each known
   table what they cost and, once that table was chosen, the bits of block header and tokens, which are the same each
   time. */
/* The longest head, and the most bytes that may follow it in a member. */
enum { LONGEST_HEAD = 512, LARGEST = 1 << 30 };
typedef struct {
    const uint8_t *data;
    size_t size, count;
    uint32_t tokens[LONGEST_HEAD];
    uint16_t counts[PADDED];
    size_t bits[TABLES_KNOWN]; /* 0 where they have not been needed yet */
    uint8_t made[TABLES_KNOWN][2 * LONGEST_HEAD + MOST_HEADER_BYTES + 16];
} Head;

/* Sixteen-bit sums, one a known table, eight in a register where the compiler knows vectors. */
#if defined(__GNUC__) || defined(__clang__)
typedef uint16_t Lanes __attribute__((vector_size(16)));
#define LANE(sums, k) (sums)[(k) / 8][(k) % 8]
#else
typedef uint16_t Lanes[8];
#define LANE(sums, k) (sums)[(k) / 8][(k) % 8]
#endif

/* Add what is used in one alphabet, whose symbols count from `first`; returns which tables have all of it. */
static uint32_t add_costs(Lanes *sums, const Used *used, size_t first) {
    uint32_t all = ALL_TABLES;
#if defined(__GNUC__) || defined(__clang__)
    Lanes a = sums[0], b = sums[1], c = sums[2], d = sums[3], cost[4];
    for (size_t i = 0; i < used->size; i++) {
        size_t symbol = first + used->symbols[i];
        memcpy(cost, COSTS[symbol], sizeof cost);
        a += cost[0] * used->counts[i];
        b += cost[1] * used->counts[i];
        c += cost[2] * used->counts[i];
        d += cost[3] * used->counts[i];
        all &= SAYING[symbol];
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
#else
    for (size_t i = 0; i < used->size; i++) {
        size_t symbol = first + used->symbols[i];
        for (size_t k = 0; k < LANES; k++) LANE(sums, k) += (uint16_t)(used->counts[i] * COSTS[symbol][k]);
        all &= SAYING[symbol];
    }
#endif
    return all;
}

/* Which known table says what is used in the fewest bits, or TABLES_KNOWN if none has all the symbols. `best` are its
   bits. There are no more tokens than fit into 16 bits of cost: SMALL_BLOCK and LONGEST_HEAD, at most 48 bits a pair. */
static size_t best_known(const Used *literals, const Used *distances, size_t *best) {
    Lanes sums[LANES / 8] = {{0}};
    uint32_t all = add_costs(sums, literals, 0);
    all &= add_costs(sums, distances, DISTANCES);
    size_t which = TABLES_KNOWN;
    *best = SIZE_MAX;
    for (size_t k = 0; k < TABLES_KNOWN; k++) {
        size_t bits = LANE(sums, k) + TABLES[k].header_bits;
        if (all >> k & 1 && bits < *best) *best = bits, which = k;
    }
    return which;
}

static void count_tokens(const uint32_t *tokens, size_t count, uint16_t *counts) {
    uint16_t odd[PADDED] = {0};
    memset(counts, 0, PADDED * sizeof *counts);
    size_t i = 0;
    for (; i + 2 <= count; i += 2) {
        counts[tokens[i] & 511]++;
        odd[tokens[i + 1] & 511]++;
    }
    if (i < count) counts[tokens[i] & 511]++;
    for (i = 0; i < PADDED; i++) counts[i] = (uint16_t)(counts[i] + odd[i]);
}

static void head_begin(Head *head, Search *search, const uint8_t *data, size_t size) {
    head->data = data;
    head->size = size;
    search_begin(search, data, 0, size);
    search->count = 0;
    search_run(search);
    head->count = search->count;
    memcpy(head->tokens, search->tokens, head->count * sizeof *head->tokens);
    count_tokens(head->tokens, head->count, head->counts);
    memset(head->bits, 0, sizeof head->bits);
}

/* Begin a member of one block with a known table, and with the head. */
static void put_known(Bits *out, Head *head, size_t which) {
    const Table *table = TABLES + which;
    if (!head->bits[which]) {
        Bits made = {0, 0, head->made[which], NULL};
        bits_put(&made, 1, 1);
        size_t left = table->header_bits;
        for (const uint32_t *word = table->header; left; word++) {
            unsigned some = left < 32 ? (unsigned)left : 32;
            bits_put(&made, *word, some);
            bits_flush(&made);
            left -= some;
        }
        put_tokens(&made, head->tokens, head->count, table->codes);
        head->bits[which] = 8 * (size_t)(made.to - head->made[which]) + made.count;
    }
    size_t bytes = head->bits[which] >> 3;
    memcpy(out->to, head->made[which], bytes);
    out->to += bytes;
    out->bits = head->made[which][bytes];
    out->count = head->bits[which] & 7;
}

/* A bound on the bytes of one block of `size` bytes: what stored blocks would take. */
static inline size_t block_bound(size_t size) { return size + 6 * (size / STORED_BLOCK + 1); }

/* As stored blocks (RFC 1951 3.2.4). */
static void put_stored(Bits *out, const Head *before, const uint8_t *data, size_t data_size, int last) {
    size_t head = before == NULL ? 0 : before->size, left = head + data_size;
    do {
        size_t size = left < STORED_BLOCK ? left : STORED_BLOCK;
        left -= size;
        bits_put(out, last && !left, 3);
        bits_align(out);
        bits_put(out, size | (uint64_t)(~size & 0xffff) << 16, 32);
        bits_flush(out);
        if (head) {
            memcpy(out->to, before->data, head); /* it is shorter than a block */
            out->to += head;
            size -= head;
            head = 0;
        }
        if (size) memcpy(out->to, data, size);
        out->to += size;
        data += size;
    } while (left);
}

/* Write the block of the tokens of `search`, which say the `size` bytes at `data`, after `head` where that is not NULL.
   Returns 0, or -1 where there is no room. */
static int put_block(Bits *out, Search *search, Head *head, const uint8_t *data, size_t size, int last) {
    static const uint16_t none[PADDED] = {0};
    const uint16_t *more = head == NULL ? none : head->counts;
    uint16_t counts[PADDED];
    search->tokens[search->count++] = END_OF_BLOCK;
    count_tokens(search->tokens, search->count, counts);

    Used literals, distances;
    used_find(&literals, counts, more, LITERALS);
    used_find(&distances, counts + DISTANCES, more + DISTANCES, SYMBOLS - DISTANCES);
    const size_t whole = size + (head == NULL ? 0 : head->size), stored = 8 * block_bound(whole);
    size_t best = SIZE_MAX, which = TABLES_KNOWN; /* that is the block's own */
    if (head != NULL && last && search->count <= SMALL_BLOCK) which = best_known(&literals, &distances, &best);
    Own own;
    if (which == TABLES_KNOWN ||
        best > (used_entropy(&literals) + used_entropy(&distances) + ANNOUNCED + 4 * literals.size) * OWN_PAYS / 64) {
        own_make(&own, &literals, &distances);
        if (2 + own.bits < best) best = 2 + own.bits, which = TABLES_KNOWN;
    }
    if ((size_t)(out->limit - out->to) < (best < stored ? best / 8 + 8 : block_bound(whole) + 8)) return -1;
    if (best >= stored) {
        put_stored(out, head, data, size, last);
    } else if (which < TABLES_KNOWN) {
        put_known(out, head, which);
        put_tokens(out, search->tokens, search->count, TABLES[which].codes);
    } else {
        bits_put(out, 4 | (unsigned)last, 3);
        own_announce(&own, out);
        if (head != NULL) put_tokens(out, head->tokens, head->count, own.codes);
        put_tokens(out, search->tokens, search->count, own.codes);
    }
    return 0;
}

/* Deflate what `search` has been given, after `head` where that is not NULL. */
static int put_blocks(Bits *out, Search *search, Head *head, int last) {
    do {
        const uint8_t *from = search->at;
        search->count = 0;
        search_run(search);
        if (put_block(out, search, head, from, (size_t)(search->at - from), last && search->at == search->end)) return -1;
        head = NULL;
    } while (search->at < search->end);
    return 0;
}

/* --- CRC-32 ------------------------------------------------------------------------------------------------------- */

#if defined(__GNUC__) && defined(__x86_64__) && !defined(PORTABLE_ONLY)
#define FOLDING 1
#include <immintrin.h>

/* 64 bytes at a time by multiplication without carries: Gopal and others, "Fast CRC Computation for Generic Polynomials
   Using PCLMULQDQ Instruction", Intel 2009; the constants are those of its section on the reflected CRC-32. `size` is a
   multiple of 16, at least 64. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t crc_folded(uint32_t crc, const uint8_t *at, size_t size) {
#define FOLD(x, k, y)                                                                                     \
    _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)), (y))
#define LOAD(i) _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * (i)))
    const __m128i four = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), one = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    const __m128i low = _mm_setr_epi32(-1, 0, -1, 0), reduce = _mm_set_epi64x(0x1f7011641, 0x1db710641);
    __m128i a = _mm_xor_si128(LOAD(0), _mm_cvtsi32_si128((int)crc)), b = LOAD(1), c = LOAD(2), d = LOAD(3);
    for (at += 64, size -= 64; size >= 64; at += 64, size -= 64) {
        a = FOLD(a, four, LOAD(0));
        b = FOLD(b, four, LOAD(1));
        c = FOLD(c, four, LOAD(2));
        d = FOLD(d, four, LOAD(3));
    }
    a = FOLD(FOLD(FOLD(a, one, b), one, c), one, d);
    for (; size; at += 16, size -= 16) a = FOLD(a, one, LOAD(0));
    a = _mm_xor_si128(_mm_srli_si128(a, 8), _mm_clmulepi64_si128(a, one, 0x10));
    b = _mm_clmulepi64_si128(_mm_and_si128(a, low), _mm_set_epi64x(0, 0x163cd6124), 0x00);
    a = _mm_xor_si128(_mm_srli_si128(a, 4), b);
    b = _mm_clmulepi64_si128(_mm_and_si128(a, low), reduce, 0x10);
    b = _mm_clmulepi64_si128(_mm_and_si128(b, low), reduce, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(a, b), 1);
#undef FOLD
#undef LOAD
}
#endif

static uint32_t crc32_of(uint32_t crc, const uint8_t *at, size_t size) {
    crc = ~crc;
#ifdef FOLDING
    if (size >= 64 && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1")) {
        size_t whole = size & ~(size_t)15;
        crc = crc_folded(crc, at, whole);
        at += whole;
        size -= whole;
    }
#endif
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t eight = load64(at) ^ crc;
        crc = CRC[7][eight & 255] ^ CRC[6][eight >> 8 & 255] ^ CRC[5][eight >> 16 & 255] ^ CRC[4][eight >> 24 & 255] ^
              CRC[3][eight >> 32 & 255] ^ CRC[2][eight >> 40 & 255] ^ CRC[1][eight >> 48 & 255] ^ CRC[0][eight >> 56];
    }
    for (; size; at++, size--) crc = CRC[0][(crc ^ *at) & 255] ^ crc >> 8;
    return ~crc;
}

/* --- times -------------------------------------------------------------------------------------------------------- */

#define SECOND 1000000
#define DAY_SECONDS 86400

static inline int64_t whole_parts(int64_t value, int64_t unit) { return value / unit - (value % unit < 0); }

typedef struct {
    unsigned year, month, day, hour, minute, second;
} Moment;

/* A time in microseconds since 1970, from the year 0 to 9999, by the calendar. Years begin in March here, so that the odd
   day is their last (Hinnant, "chrono-Compatible Low-Level Date Algorithms"). */
static Moment moment_of(int64_t us) {
    const int64_t seconds = whole_parts(us, SECOND), days = whole_parts(seconds, DAY_SECONDS);
    const unsigned clock = (unsigned)(seconds - days * DAY_SECONDS), since = (unsigned)(days + 719468);
    const unsigned era = since / 146097, of_era = since % 146097;
    const unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    const unsigned of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    Moment moment = {year + 400 * era + (month >= 10), month < 10 ? month + 3 : month - 9, 0, clock / 3600,
                     clock / 60 % 60, clock % 60};
    moment.day = of_year - (153 * month + 2) / 5 + 1;
    return moment;
}

static inline uint8_t *put_two(uint8_t *to, unsigned number) {
    static const char pairs[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    memcpy(to, pairs + 2 * (number % 100), 2);
    return to + 2;
}

/* `YYYY-MM-DD_HHMMSS`. */
enum { TIME_SIZE = 17 };
static uint8_t *put_time(uint8_t *to, int64_t us) {
    const Moment moment = moment_of(us);
    to = put_two(put_two(to, moment.year / 100), moment.year % 100);
    *to++ = '-';
    to = put_two(to, moment.month);
    *to++ = '-';
    to = put_two(to, moment.day);
    *to++ = '_';
    return put_two(put_two(put_two(to, moment.hour), moment.minute), moment.second);
}

/* DOS time, and the date above it (APPNOTE 4.4.6): even seconds, within 1980 to 2107. */
static uint32_t dos_time(int64_t us) {
    const int64_t first = (int64_t)315532800 * SECOND, last = (int64_t)4354819198 * SECOND;
    const Moment moment = moment_of(us < first ? first : us > last ? last : us);
    return moment.hour << 11 | moment.minute << 5 | moment.second / 2 |
           ((moment.year - 1980) << 9 | moment.month << 5 | moment.day) << 16;
}

/* --- members and pieces ------------------------------------------------------------------------------------------- */

/* The bytes that `size` bytes take at the most: each block at most what it takes stored, and a sync flush. `SPARE` is
   for what is written beyond the end, eight bytes at a time, before it is known to be the end. */
enum { SPARE = 64 };
static size_t deflate_bound(size_t size) { return size + 6 * (size / (ENOUGH - TAIL) + size / STORED_BLOCK + 2) + 8; }

/* Deflate members, each `begin` and then the bytes of `data` between two `cuts`. Returns the bytes written or SIZE_MAX. */
static size_t deflate_members(const uint8_t *data, const int64_t *cuts, size_t members, const uint8_t *begin,
                              size_t begin_size, uint8_t *to, size_t room, int64_t *ends, uint32_t *crcs) {
    Search *search = malloc(sizeof *search);
    Head *head = malloc(sizeof *head);
    size_t written = SIZE_MAX;
    if (search == NULL || head == NULL) goto done;
    search_reset(search);
    head_begin(head, search, begin, begin_size);
    const uint32_t head_crc = crc32_of(0, begin, begin_size);

    Bits out = {0, 0, to, to + room};
    for (size_t i = 0; i < members; i++) {
        const uint8_t *own = data + cuts[i];
        size_t size = (size_t)(cuts[i + 1] - cuts[i]);
        search_begin(search, own, 0, size);
        if (put_blocks(&out, search, head, 1)) goto done;
        bits_align(&out);
        ends[i] = out.to - to;
        crcs[i] = crc32_of(head_crc, own, size);
    }
    written = (size_t)(out.to - to);
done:
    free(head);
    free(search);
    return written;
}

/* The records of a member in a ZIP archive, as far as they have its data's facts in them (APPNOTE 4.3.7, 4.3.12): where
   they stand in the central header, in whose order the local one has those from `SHARED` to `SHARED_END` behind its
   signature. */
enum { LOCAL = 30, CENTRAL = 46, SHARED = 6, SHARED_END = 32 };
enum { FLAGS_AT = 8, TIME_AT = 12, CRC_AT = 16, DEFLATED_AT = 20, SIZE_AT = 24, NAME_AT = 28, OFFSET_AT = 42, UTF8_FLAG = 8 };

static inline void store32(uint8_t *at, uint32_t value) {
    value = LITTLE32(value);
    memcpy(at, &value, sizeof value);
}

/* Names one after another, each with a byte behind it, at the `ends`; and when each member was made, local microseconds. */
typedef struct {
    const uint8_t *text;
    const int64_t *ends;
    const int64_t *created;
} Names;

/* The same as `deflate_members`, but each behind its local header and its name. `model` is a central header with what all
   have in common; to `central` go such headers, each with its name. Offsets are those in `to`. */
static size_t zip_members(const uint8_t *data, const int64_t *cuts, size_t members, const uint8_t *begin,
                          size_t begin_size, const Names *names, const uint8_t *model, uint8_t *to, size_t room,
                          uint8_t *central, int64_t *starts, int64_t *sizes, uint32_t *crcs) {
    Search *search = malloc(sizeof *search);
    Head *head = malloc(sizeof *head);
    size_t written = SIZE_MAX;
    if (search == NULL || head == NULL) goto done;
    search_reset(search);
    head_begin(head, search, begin, begin_size);
    const uint32_t head_crc = crc32_of(0, begin, begin_size);

    Bits out = {0, 0, to, to + room};
    size_t named = 0;
    for (size_t i = 0; i < members; i++) {
        const uint8_t *const own = data + cuts[i], *const name = names->text + named;
        const size_t size = (size_t)(cuts[i + 1] - cuts[i]), name_size = (size_t)names->ends[i] - named;
        named += name_size + 1;
        uint8_t *const local = out.to;
        if ((size_t)(out.limit - local) < LOCAL + name_size) goto done;
        out.to += LOCAL + name_size;
        search_begin(search, own, 0, size);
        if (put_blocks(&out, search, head, 1)) goto done;
        bits_align(&out);
        starts[i] = local - to;
        sizes[i] = out.to - local - (ptrdiff_t)(LOCAL + name_size);
        crcs[i] = crc32_of(head_crc, own, size);

        memcpy(central, model, CENTRAL);
        if (ascii_before(name, name_size) < name_size) central[FLAGS_AT + 1] |= UTF8_FLAG;
        store32(central + TIME_AT, dos_time(names->created[i]));
        store32(central + CRC_AT, crcs[i]);
        store32(central + DEFLATED_AT, (uint32_t)sizes[i]);
        store32(central + SIZE_AT, (uint32_t)(begin_size + size));
        central[NAME_AT] = (uint8_t)name_size;
        central[NAME_AT + 1] = (uint8_t)(name_size >> 8);
        store32(central + OFFSET_AT, (uint32_t)starts[i]);
        memcpy(local, "PK\3\4", 4);
        memcpy(local + 4, central + SHARED, SHARED_END - SHARED);
        if (name_size) memcpy(local + LOCAL, name, name_size);
        if (name_size) memcpy(central + CENTRAL, name, name_size);
        central += CENTRAL + name_size;
    }
    written = (size_t)(out.to - to);
done:
    free(head);
    free(search);
    return written;
}

/* Deflate a part of a stream: `size` bytes, of which those before `start` are the window. */
static size_t deflate_piece(const uint8_t *data, size_t start, size_t size, int last, uint8_t *to, size_t room) {
    Search *search = malloc(sizeof *search);
    size_t written = SIZE_MAX;
    if (search == NULL) return written;
    search_reset(search);
    search_begin(search, data, start, size);
    Bits out = {0, 0, to, to + room};
    if (put_blocks(&out, search, NULL, last) == 0) {
        if (!last) put_stored(&out, NULL, data, 0, 0);
        bits_align(&out);
        written = (size_t)(out.to - to);
    }
    free(search);
    return written;
}

/* --- CSV ---------------------------------------------------------------------------------------------------------- */

/* A column of strings as Arrow lays it out: `offsets` into `data`, one more than rows, and bits that say which rows are
   not null, from `first_bit` on, or NULL where all are. Or one of `times`, microseconds since 1970, a row each, and how
   far they are `east` of UTC, one for all or a row each. */
typedef struct {
    const uint8_t *valid;
    size_t first_bit;
    const uint8_t *offsets;
    const uint8_t *data;
    size_t size;
    int quoted; /* whether there may be quotes in the text */
    const uint8_t *times, *east;
    size_t east_count;
} Column;

/* Where a column's value starts and its size: 1; 0 for a null, -1 where offsets do not rise or leave the text. */
static inline int cell_of(const Column *column, size_t row, size_t *start, size_t *size) {
    const size_t bit = column->first_bit + row;
    if (column->valid != NULL && !(column->valid[bit >> 3] >> (bit & 7) & 1)) return 0;
    const size_t from = loaded32(column->offsets + 4 * row), to = loaded32(column->offsets + 4 * row + 4);
    if (UNLIKELY(from > to || to > column->size)) return -1;
    *start = from;
    *size = to - from;
    return 1;
}

static inline uint64_t quotes_in(uint64_t eight) {
    uint64_t differ = eight ^ 0x2222222222222222u;
    return (differ - 0x0101010101010101u) & ~differ & 0x8080808080808080u;
}

/* Copy a cell with its quotes doubled. It has `size` bytes, of which `readable` may be read at once; there is room for
   twice as many and 16 more. */
static inline uint8_t *put_quoted(uint8_t *to, const uint8_t *from, size_t size, size_t readable) {
    size_t done = 0;
    while (done < size && done + 8 <= readable) {
        uint64_t eight = load64(from + done);
        if (UNLIKELY(quotes_in(eight))) break; /* or behind the cell's end */
        store64(to + done, eight);
        done += 8;
    }
    if (done >= size) return to + size;
    to += done;
    for (; done < size; done++) {
        *to++ = from[done];
        if (from[done] == '"') *to++ = '"';
    }
    return to;
}

/* The same for one that is known to have no quotes. */
static inline uint8_t *put_plain(uint8_t *to, const uint8_t *from, size_t size, size_t readable) {
    if (LIKELY(size + 15 <= readable && size <= 256))
        for (size_t done = 0; done < size; done += 16) memcpy(to + done, from + done, 16);
    else if (size)
        memcpy(to, from, size);
    return to + size;
}

/* ISO 8601 as it was written last: the date and the zone stay the same for many rows. */
typedef struct {
    int64_t day, east;
    uint8_t date[11], zone[9];
    size_t zone_size;
} Spelt;

enum { LONGEST_TIME = 35 };

/* `2026-06-11T06:50:43.861185Z`, or with `+08:00` or `+08:05:43` where a place is not at UTC. */
static uint8_t *put_instant(uint8_t *to, Spelt *spelt, int64_t us, int64_t east) {
    if (UNLIKELY(east != spelt->east || !spelt->zone_size)) {
        const unsigned far = (unsigned)((east < 0 ? 0 - (uint64_t)east : (uint64_t)east) / SECOND);
        uint8_t *zone = spelt->zone;
        *zone++ = east == 0 ? 'Z' : east < 0 ? '-' : '+';
        if (east) zone = put_two(zone, far / 3600);
        if (east) *zone++ = ':', zone = put_two(zone, far / 60 % 60);
        if (far % 60) *zone++ = ':', zone = put_two(zone, far % 60);
        spelt->zone_size = (size_t)(zone - spelt->zone);
        spelt->east = east;
    }
    const int64_t local = (int64_t)((uint64_t)us + (uint64_t)east), day = whole_parts(local, (int64_t)DAY_SECONDS * SECOND);
    if (UNLIKELY(day != spelt->day)) {
        uint8_t date[TIME_SIZE];
        put_time(date, local);
        memcpy(spelt->date, date, 10);
        spelt->date[10] = 'T';
        spelt->day = day;
    }
    const uint64_t clock = (uint64_t)local - (uint64_t)day * DAY_SECONDS * SECOND;
    const unsigned seconds = (unsigned)(clock / SECOND), rest = (unsigned)(clock % SECOND);
    memcpy(to, spelt->date, 11);
    put_two(to + 11, seconds / 3600);
    to[13] = ':';
    put_two(to + 14, seconds / 60 % 60);
    to[16] = ':';
    put_two(to + 17, seconds % 60);
    to[19] = '.';
    put_two(put_two(put_two(to + 20, rest / 10000), rest / 100), rest);
    memcpy(to + 26, spelt->zone, sizeof spelt->zone);
    return to + 26 + spelt->zone_size;
}

/* Write rows as CSV: every value between quotes, a null as nothing. Sets where the rows numbered by `bounds`, which
   rise, begin, and the bytes of the longest value. Returns the bytes written, or SIZE_MAX where offsets are wrong or
   there is no room. */
static size_t render_csv(Column *columns, size_t count, size_t rows, const uint8_t *eol, size_t eol_size,
                         const int64_t *bounds, size_t bounds_count, int64_t *cuts, size_t *longest, uint8_t *to,
                         size_t room) {
    uint8_t *const begin = to, *const limit = to + room;
    size_t next = 0, most = 0;
    Spelt spelt = {.day = INT64_MIN};
    for (size_t c = 0; c < count; c++) {
        if (columns[c].times != NULL) continue;
        const size_t first = loaded32(columns[c].offsets), last = loaded32(columns[c].offsets + 4 * rows);
        if (first > last || last > columns[c].size) return SIZE_MAX;
        columns[c].quoted = first < last && memchr(columns[c].data + first, '"', last - first) != NULL;
        columns[c].size = last; /* so that no value leads to text that was not looked at */
    }
    for (size_t row = 0; row < rows; row++) {
        while (next < bounds_count && (uint64_t)bounds[next] <= row) cuts[next++] = to - begin;
        for (size_t c = 0; c < count; c++) {
            const Column *column = columns + c;
            if (column->times != NULL) {
                if (UNLIKELY((size_t)(limit - to) < LONGEST_TIME + 24 + eol_size)) return SIZE_MAX;
                const size_t at = column->east_count == 1 ? 0 : 8 * row;
                if (c) *to++ = ',';
                *to++ = '"';
                to = put_instant(to, &spelt, (int64_t)loaded64(column->times + 8 * row), (int64_t)loaded64(column->east + at));
                *to++ = '"';
                continue;
            }
            size_t size = 0, start = 0;
            const int valid = cell_of(column, row, &start, &size);
            if (UNLIKELY(valid < 0 || (size_t)(limit - to) < 2 * size + 24 + eol_size)) return SIZE_MAX;
            if (c) *to++ = ',';
            if (!valid) continue;
            if (size > most) most = size;
            *to++ = '"';
            const uint8_t *from = column->data + start;
            const size_t readable = column->size - start;
            to = column->quoted ? put_quoted(to, from, size, readable) : put_plain(to, from, size, readable);
            *to++ = '"';
        }
        memcpy(to, eol, eol_size);
        to += eol_size;
    }
    while (next < bounds_count) cuts[next++] = to - begin;
    *longest = most;
    return (size_t)(to - begin);
}

/* --- words -------------------------------------------------------------------------------------------------------- */

enum { MOST_WORDS = 16 };
typedef struct {
    const uint8_t *text;
    size_t size;
} Word;

/* Which of `words` each value is, or their number where it is none of them or null. Returns 0, or -1 where offsets are
   wrong. */
static int find_words(const Column *column, size_t rows, const Word *words, size_t count, uint8_t *which) {
    uint64_t begins[MOST_WORDS], masks[MOST_WORDS];
    for (size_t w = 0; w < count; w++) {
        const size_t size = words[w].size < 8 ? words[w].size : 8;
        uint8_t eight[8] = {0};
        if (size) memcpy(eight, words[w].text, size);
        begins[w] = load64(eight);
        masks[w] = size < 8 ? ((uint64_t)1 << 8 * size) - 1 : UINT64_MAX;
    }
    for (size_t row = 0; row < rows; row++) {
        size_t size = 0, start = 0;
        const int valid = cell_of(column, row, &start, &size);
        if (UNLIKELY(valid < 0)) return -1;
        const uint8_t *const from = column->data + start;
        uint8_t eight[8] = {0};
        const size_t readable = column->size - start;
        if (UNLIKELY(readable < 8)) memcpy(eight, from, readable);
        const uint64_t begin = load64(readable < 8 ? eight : from);
        size_t w = count;
        for (size_t i = count; i--;) { /* without branches: what comes next cannot be foretold */
            int same = (size == words[i].size) & ((begin & masks[i]) == begins[i]) & valid;
            if (UNLIKELY(size > 8) && same) same = !memcmp(from, words[i].text, size);
            w = same ? i : w;
        }
        which[row] = (uint8_t)w;
    }
    return 0;
}

/* How many values are the same as the one of the row before; a null is as none. Returns 0, or -1 where offsets are
   wrong. */
static int count_doubled(const Column *column, size_t rows, size_t *doubled) {
    size_t before = 0, before_size = SIZE_MAX;
    *doubled = 0;
    for (size_t row = 0; row < rows; row++) {
        size_t start = 0, size = SIZE_MAX;
        if (UNLIKELY(cell_of(column, row, &start, &size) < 0)) return -1;
        /* Ids that follow each other differ at their ends. */
        if (size == before_size && size != SIZE_MAX &&
            (!size || column->data[start + size - 1] == column->data[before + size - 1]))
            *doubled += !memcmp(column->data + start, column->data + before, size);
        before = start;
        before_size = size;
    }
    return 0;
}

/* --- UTF-8 -------------------------------------------------------------------------------------------------------- */

#ifdef FOLDING
/* By registers of 16 bytes: Keiser and Lemire, "Validating UTF-8 In Less Than One Instruction Per Byte", 2021. Three
   tables are asked about each byte and the one before it, by halves of bytes, for what may be wrong with the two: a bit
   that all three have is wrong. The last, `TWO`, says no more than that both go on with a character, which is right
   where the byte two or three before began a long one. */
__attribute__((target("ssse3"))) static int is_utf8_by_16(const uint8_t *at, size_t size) {
    enum { SHORT = 1, LONG = 2, OVER_3 = 4, LARGE = 8, SURROGATE = 16, OVER_2 = 32, LARGER = 64, OVER_4 = 64, TWO = 128 };
    enum { ANY = SHORT | LONG | TWO, FAR = ANY | LARGE | LARGER, GOES_ON = LONG | OVER_2 | TWO };
#define SAID(...) _mm_setr_epi8(__VA_ARGS__)
#define BITS(bits) ((char)(bits))
    const __m128i first_high = SAID(LONG, LONG, LONG, LONG, LONG, LONG, LONG, LONG, BITS(TWO), BITS(TWO), BITS(TWO),
                                    BITS(TWO), SHORT | OVER_2, SHORT, SHORT | OVER_3 | SURROGATE,
                                    SHORT | LARGE | LARGER | OVER_4);
    const __m128i first_low = SAID(BITS(ANY | OVER_2 | OVER_3 | OVER_4), BITS(ANY | OVER_2), BITS(ANY), BITS(ANY),
                                   BITS(ANY | LARGE), BITS(FAR), BITS(FAR), BITS(FAR), BITS(FAR), BITS(FAR), BITS(FAR),
                                   BITS(FAR), BITS(FAR), BITS(FAR | SURROGATE), BITS(FAR), BITS(FAR));
    const __m128i second_high = SAID(SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT,
                                     BITS(GOES_ON | OVER_3 | OVER_4), BITS(GOES_ON | OVER_3 | LARGE),
                                     BITS(GOES_ON | SURROGATE | LARGE), BITS(GOES_ON | SURROGATE | LARGE), SHORT, SHORT,
                                     SHORT, SHORT);
    const __m128i half = _mm_set1_epi8(15), high = _mm_set1_epi8(BITS(0x80));
    const __m128i third = _mm_set1_epi8(0xe0 - 0x80), fourth = _mm_set1_epi8(0xf0 - 0x80);
    __m128i before = _mm_setzero_si128(), wrong = before;
    for (;;) {
        uint8_t tail[64] = {0}; /* at least one NUL, with which no character goes on, is looked at in the end */
        if (size < 64 && size) memcpy(tail, at, size);
        __m128i here[4];
        for (size_t i = 0; i < 4; i++)
            here[i] = _mm_loadu_si128((const __m128i *)(const void *)((size < 64 ? tail : at) + 16 * i));
        const __m128i any = _mm_or_si128(_mm_or_si128(here[0], here[1]), _mm_or_si128(here[2], here[3]));
        const int looked_at = _mm_movemask_epi8(any) | _mm_movemask_epi8(before) >> 13;
        for (size_t i = 0; looked_at && i < 4; i++) {
            const __m128i one = _mm_alignr_epi8(here[i], before, 15), two = _mm_alignr_epi8(here[i], before, 14);
            const __m128i three = _mm_alignr_epi8(here[i], before, 13);
            const __m128i pair = _mm_and_si128(
                _mm_and_si128(_mm_shuffle_epi8(first_high, _mm_and_si128(_mm_srli_epi16(one, 4), half)),
                              _mm_shuffle_epi8(first_low, _mm_and_si128(one, half))),
                _mm_shuffle_epi8(second_high, _mm_and_si128(_mm_srli_epi16(here[i], 4), half)));
            const __m128i goes_on =
                _mm_and_si128(_mm_or_si128(_mm_subs_epu8(two, third), _mm_subs_epu8(three, fourth)), high);
            wrong = _mm_or_si128(wrong, _mm_xor_si128(pair, goes_on));
            before = here[i];
        }
        if (size < 64) break;
        at += 64;
        size -= 64;
    }
    return _mm_movemask_epi8(_mm_cmpeq_epi8(wrong, _mm_setzero_si128())) == 0xffff;
#undef SAID
#undef BITS
}
#endif

/* Whether bytes are UTF-8 (Unicode, table 3-7). */
static int is_utf8(const uint8_t *at, size_t size) {
#ifdef FOLDING
    if (__builtin_cpu_supports("ssse3")) return is_utf8_by_16(at, size);
#endif
    const uint8_t *const end = at + size;
    for (at += ascii_before(at, size); at < end;) {
        const size_t left = (size_t)(end - at);
        uint8_t tail[4] = {0}; /* no character goes on with NUL */
        if (left < 4) memcpy(tail, at, left);
        const uint32_t four = load32(left < 4 ? tail : at);
        if (!(four & 0x80)) {
            at += left < 8 ? 1 : ascii_before(at, left);
        } else if ((four & 0xc0e0) == 0x80c0) {
            if (!(four & 0x1e)) return 0; /* ASCII in two bytes */
            at += 2;
        } else if ((four & 0xc0c0f0) == 0x8080e0) {
            const uint32_t begins = four & 0x200f;
            if (begins == 0 || begins == 0x200d) return 0; /* two bytes would do, or a surrogate */
            at += 3;
        } else if ((four & 0xc0c0c0f8) == 0x808080f0) {
            if (!(four & 0x3007)) return 0;                                    /* three bytes would do */
            if ((four & 7) > 4 || ((four & 7) == 4 && (four & 0x3000))) return 0; /* beyond U+10FFFF */
            at += 4;
        } else {
            return 0;
        }
    }
    return 1;
}

/* Whether the offsets of strings, `width` bytes each (4 or 8), one more than rows, rise within `size` bytes of text, all
   of which between the first and the last is UTF-8, and none leads into a character. */
static inline int are_utf8(const uint8_t *offsets, size_t width, size_t rows, const uint8_t *data, size_t size) {
#define OFFSET(i) (width == 4 ? (uint64_t)loaded32(offsets + 4 * (i)) : loaded64(offsets + 8 * (i)))
    const uint64_t first = OFFSET(0), last = OFFSET(rows);
    if (first > last || last > size) return 0;
    const uint8_t *const text = data + first;
    const size_t ascii = ascii_before(text, (size_t)(last - first));
    uint64_t before = first;
    int wrong = 0;
    if (first + ascii == last) {
        for (size_t i = 1; i < rows; i++) {
            const uint64_t offset = OFFSET(i);
            wrong |= offset < before;
            before = offset;
        }
        return !wrong && before <= last;
    }
    for (size_t i = 0; i < rows; i++) {
        const uint64_t offset = OFFSET(i);
        if (offset < before || offset > last) return 0;
        wrong |= offset < last && (data[offset] & 0xc0) == 0x80;
        before = offset;
    }
    return !wrong && is_utf8(text + ascii, (size_t)(last - first) - ascii);
#undef OFFSET
}

/* --- digests ------------------------------------------------------------------------------------------------------ */

/* SipHash-1-3 (Aumasson and Bernstein 2012), which is Python's own hash of text: with a key that nobody knows, nobody can
   make two texts share one. */
static uint64_t digest_of(const uint64_t *key, const uint8_t *at, size_t size) {
#define TURNED(value, by) ((value) << (by) | (value) >> (64 - (by)))
#define ROUND                                                                                   \
    a += b, c += d, b = TURNED(b, 13) ^ a, d = TURNED(d, 16) ^ c, a = TURNED(a, 32);            \
    c += b, a += d, b = TURNED(b, 17) ^ c, d = TURNED(d, 21) ^ a, c = TURNED(c, 32)
    uint64_t a = key[0] ^ 0x736f6d6570736575u, b = key[1] ^ 0x646f72616e646f6du;
    uint64_t c = key[0] ^ 0x6c7967656e657261u, d = key[1] ^ 0x7465646279746573u, eight = (uint64_t)size << 56;
    for (; size >= 8; at += 8, size -= 8) {
        const uint64_t some = load64(at);
        d ^= some;
        ROUND;
        a ^= some;
    }
    for (size_t i = 0; i < size; i++) eight |= (uint64_t)at[i] << 8 * i;
    d ^= eight;
    ROUND;
    a ^= eight;
    c ^= 0xff;
    ROUND;
    ROUND;
    ROUND;
    return a ^ b ^ c ^ d;
#undef ROUND
#undef TURNED
}

/* --- names -------------------------------------------------------------------------------------------------------- */

#include "_letters.h"

enum { LONGEST_LABEL = 255, NO_LABEL = 0, IN_WORD, AFTER_DOT, AFTER_OTHER };

/* What a byte of a label is: a dot, a blank or hyphen, part of a word, or nothing that a label has. */
static inline int label_byte(uint8_t byte) {
    if (byte == '.') return AFTER_DOT;
    if (byte == ' ' || byte == '-') return AFTER_OTHER;
    /* Quotation marks, `*`, `/`, `:`, `<`, `>` and `?`; backslash and `|`. */
    const uint64_t forbidden = byte < 64 ? 0xd400840400000000u : 0x1000000010000000u;
    return byte > ' ' && byte < 127 && !(forbidden >> (byte & 63) & 1) ? IN_WORD : NO_LABEL;
}

/* Whether a label may be a device of Windows's, `$` and digits among it or not. */
static int is_like_device(const uint8_t *text, size_t size) {
    static const char devices[] = "conprnauxnulcomlpt";
    if (size < 3) return 0;
    for (const char *device = devices; *device; device += 3)
        if ((text[0] | 32) == device[0] && (text[1] | 32) == device[1] && (text[2] | 32) == device[2])
            return size == 3 || !((text[3] | 32) >= 'a' && (text[3] | 32) <= 'z') || memchr(text, '$', size) != NULL;
    return 0;
}

/* Fold a label of at most `LONGEST_LABEL` bytes that needs no cleaning by the rules of `pipeline.naming` to `folded`, which
   has room for four times as many; returns the size of that. SIZE_MAX for a label that may need it. */
static size_t fold_label(const uint8_t *text, size_t size, uint8_t *folded) {
    const uint8_t *const end = text + size;
    uint8_t *to = folded;
    unsigned combining = 0;
    int before = AFTER_OTHER;
    if (!size || *text == '~' || is_like_device(text, size)) return SIZE_MAX;
    while (text < end) {
        if (*text < 0x80) {
            const int kind = label_byte(*text);
            /* One blank, hyphen or dot at a time, or a dot and a blank. */
            if (kind == NO_LABEL || (kind != IN_WORD && before != IN_WORD && !(before == AFTER_DOT && *text == ' ')))
                return SIZE_MAX;
            *to++ = (uint8_t)(*text >= 'A' && *text <= 'Z' ? *text | 32 : *text);
            before = kind;
            combining = 0;
            text++;
            continue;
        }
        const size_t more = *text < 0xe0 ? 1 : *text < 0xf0 ? 2 : 3;
        if ((size_t)(end - text) <= more) return SIZE_MAX;
        uint32_t letter = *text++ & (0x3fu >> more);
        for (size_t i = 0; i < more; i++) letter = letter << 6 | (*text++ & 0x3f);
        if (letter >= LETTERS_END) return SIZE_MAX;
        const uint8_t kind = LETTER_KINDS[(size_t)LETTER_PAGES[letter / LETTER_PAGE] * LETTER_PAGE + letter % LETTER_PAGE];
        if (!kind || (COMBINING[kind] && COMBINING[kind] < combining)) return SIZE_MAX;
        combining = COMBINING[kind];
        before = IN_WORD;
        letter += (uint32_t)FOLDED[kind];
        if (letter < 0x80) {
            *to++ = (uint8_t)letter;
        } else {
            const size_t follow = letter < 0x800 ? 1 : letter < 0x10000 ? 2 : 3;
            *to++ = (uint8_t)((0xff00u >> (follow + 1) & 0xff) | letter >> 6 * follow);
            for (size_t i = follow; i--;) *to++ = (uint8_t)(0x80 | (letter >> 6 * i & 0x3f));
        }
    }
    return before == IN_WORD ? (size_t)(to - folded) : SIZE_MAX;
}

/* --- Python ------------------------------------------------------------------------------------------------------- */

#ifndef KERNEL_ONLY

/* What was written as bytes, and the memory it was written to freed. NULL where nothing could be. */
static PyObject *as_bytes(uint8_t *memory, size_t size) {
    PyObject *result = NULL;
    if (memory == NULL || size == SIZE_MAX)
        PyErr_NoMemory();
    else
        result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (result != NULL) {
        char *to = PyBytes_AsString(result);
        Py_BEGIN_ALLOW_THREADS
        memcpy(to, memory, size);
        Py_END_ALLOW_THREADS
    }
    free(memory);
    return result;
}

/* The numbers in a buffer, in memory of their own, as whoever holds the buffer could change them after they were checked;
   NULL with an exception. */
static int64_t *copied(const Py_buffer *numbers) {
    int64_t *const copy = malloc((size_t)numbers->len + 1);
    if (copy == NULL)
        PyErr_NoMemory();
    else if (numbers->len)
        memcpy(copy, numbers->buf, (size_t)numbers->len);
    return copy;
}

/* The bytes that members take at the most, or SIZE_MAX with an exception where the cuts are not as they should be. */
static size_t members_room(const int64_t *cuts, const Py_buffer *given, Py_ssize_t csv_size, Py_ssize_t header_size) {
    if (given->len % (Py_ssize_t)sizeof *cuts != 0 || given->len == 0) {
        PyErr_SetString(PyExc_ValueError, "cuts must be one or more 64-bit integers");
        return SIZE_MAX;
    }
    const size_t members = (size_t)given->len / sizeof *cuts - 1;
    if (cuts[0] < 0 || cuts[members] > csv_size || header_size > LONGEST_HEAD) {
        PyErr_SetString(PyExc_ValueError, "cuts must lie in the csv, and the header be 512 bytes at the most");
        return SIZE_MAX;
    }
    size_t room = SPARE;
    for (size_t i = 0; i < members; i++) {
        if (cuts[i + 1] < cuts[i] || cuts[i + 1] - cuts[i] > LARGEST) {
            PyErr_SetString(PyExc_ValueError, "cuts must rise, by 1 GiB at the most");
            return SIZE_MAX;
        }
        room += deflate_bound((size_t)header_size + (size_t)(cuts[i + 1] - cuts[i]));
    }
    return room;
}

PyDoc_STRVAR(members_doc,
             "deflate_members(csv, cuts, header, /)\n--\n\n"
             "Deflate members: each is `header` and then the bytes of `csv` between two neighbouring `cuts`.\n\n"
             "`cuts` are native 64-bit integers in rising order, one more than there are members, at most 1 GiB apart; "
             "the\nheader is 512 bytes at the most. Returns the members' raw deflate streams (RFC 1951) one after "
             "another, where each\nends (64 bits each), and each member's CRC-32 (32 bits each), the numbers again in "
             "the machine's order.\n\n"
             "Raises ValueError for cuts that do not lie in the CSV or do not rise, MemoryError where memory is short.");

static PyObject *native_deflate_members(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer csv = {0}, cuts = {0}, begin = {0};
    if (!PyArg_ParseTuple(args, "y*y*y*:deflate_members", &csv, &cuts, &begin)) return NULL;
    PyObject *result = NULL, *data = NULL, *ends = NULL, *crcs = NULL;
    int64_t *const at = copied(&cuts);
    if (at == NULL) goto done;
    const size_t room = members_room(at, &cuts, csv.len, begin.len);
    if (room == SIZE_MAX) goto done;
    const size_t members = (size_t)cuts.len / sizeof *at - 1;
    ends = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(members * sizeof(int64_t)));
    crcs = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(members * sizeof(uint32_t)));
    if (ends == NULL || crcs == NULL) goto done;
    int64_t *to_ends = (int64_t *)(void *)PyBytes_AsString(ends);
    uint32_t *to_crcs = (uint32_t *)(void *)PyBytes_AsString(crcs);
    uint8_t *memory;
    size_t written = SIZE_MAX;
    Py_BEGIN_ALLOW_THREADS
    memory = malloc(room);
    if (memory != NULL)
        written =
            deflate_members(csv.buf, at, members, begin.buf, (size_t)begin.len, memory, room, to_ends, to_crcs);
    Py_END_ALLOW_THREADS
    data = as_bytes(memory, written);
    if (data != NULL) result = PyTuple_Pack(3, data, ends, crcs);
done:
    Py_XDECREF(data);
    Py_XDECREF(ends);
    Py_XDECREF(crcs);
    free(at);
    PyBuffer_Release(&csv);
    PyBuffer_Release(&cuts);
    PyBuffer_Release(&begin);
    return result;
}

PyDoc_STRVAR(zip_doc,
             "zip_members(csv, cuts, header, names, ends, created, model, /)\n--\n\n"
             "Deflate members as `deflate_members` does, each behind its local header and name.\n\n"
             "`names` are one after another with a byte behind each, at the `ends`, `created` local microseconds since "
             "1970 (native 64\nbits each). `model` is a central header with what all members have in common; what each has "
             "of its own is filled in.\n\n"
             "Returns the members; their central headers, each with its name; where each member begins, the bytes of its "
             "data (64 bits\neach), and its CRC-32 (32 bits each). Raises ValueError as `deflate_members` does, and for "
             "names that\ndo not lie in theirs or have more than 65,535 bytes.");

static PyObject *native_zip_members(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer views[7] = {{0}}; /* csv, cuts, header, names, ends, created, model */
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*:zip_members", views, views + 1, views + 2, views + 3, views + 4, views + 5,
                          views + 6))
        return NULL;
    const Py_buffer *const csv = views, *const cuts = views + 1, *const begin = views + 2;
    PyObject *result = NULL, *local = NULL, *central = NULL, *starts = NULL, *sizes = NULL, *crcs = NULL;
    int64_t *const at = copied(cuts), *const ends = copied(views + 4), *const created = copied(views + 5);
    if (at == NULL || ends == NULL || created == NULL) goto done;
    size_t room = members_room(at, cuts, csv->len, begin->len);
    if (room == SIZE_MAX) goto done;
    const size_t members = (size_t)cuts->len / sizeof *at - 1;
    const Py_ssize_t eights = (Py_ssize_t)(members * sizeof(int64_t));
    int fits = views[4].len == eights && views[5].len == eights && views[6].len == CENTRAL;
    int64_t named = 0;
    for (size_t i = 0; fits && i < members; named = ends[i++] + 1)
        fits = ends[i] >= named && ends[i] - named <= UINT16_MAX && ends[i] < views[3].len;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "names, their ends, created or model are not as they should be");
        goto done;
    }
    room += members * LOCAL + (size_t)views[3].len;
    central = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(members * CENTRAL + (size_t)named - members));
    starts = PyBytes_FromStringAndSize(NULL, eights);
    sizes = PyBytes_FromStringAndSize(NULL, eights);
    crcs = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(members * sizeof(uint32_t)));
    if (central == NULL || starts == NULL || sizes == NULL || crcs == NULL) goto done;
    uint8_t *const to_central = (uint8_t *)(void *)PyBytes_AsString(central);
    int64_t *const to_starts = (int64_t *)(void *)PyBytes_AsString(starts);
    int64_t *const to_sizes = (int64_t *)(void *)PyBytes_AsString(sizes);
    uint32_t *const to_crcs = (uint32_t *)(void *)PyBytes_AsString(crcs);
    const Names names = {views[3].buf, ends, created};
    uint8_t *memory;
    size_t written = SIZE_MAX;
    Py_BEGIN_ALLOW_THREADS
    memory = malloc(room);
    if (memory != NULL)
        written = zip_members(csv->buf, at, members, begin->buf, (size_t)begin->len, &names, views[6].buf, memory, room,
                              to_central, to_starts, to_sizes, to_crcs);
    Py_END_ALLOW_THREADS
    local = as_bytes(memory, written);
    if (local != NULL) result = PyTuple_Pack(5, local, central, starts, sizes, crcs);
done:
    free(at);
    free(ends);
    free(created);
    for (size_t i = 0; i < 7; i++) PyBuffer_Release(views + i);
    Py_XDECREF(local);
    Py_XDECREF(central);
    Py_XDECREF(starts);
    Py_XDECREF(sizes);
    Py_XDECREF(crcs);
    return result;
}

PyDoc_STRVAR(piece_doc,
             "deflate_piece(data, dictionary, last, /)\n--\n\n"
             "Deflate a part of a stream, after at most 32 KiB of what was before it, as its dictionary.\n\n"
             "Unless it is the `last`, it ends in a sync flush (an empty stored block), so that the next part follows "
             "on a byte.\nRaises ValueError for a longer dictionary or for more than 1 GiB, MemoryError where memory is "
             "short.");

static PyObject *native_deflate_piece(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer data = {0}, before = {0};
    int last;
    if (!PyArg_ParseTuple(args, "y*y*p:deflate_piece", &data, &before, &last)) return NULL;
    PyObject *result = NULL;
    if (data.len > LARGEST || before.len > WINDOW) {
        PyErr_SetString(PyExc_ValueError, "data must be 1 GiB at the most, the dictionary 32 KiB");
    } else {
        const size_t start = (size_t)before.len, size = start + (size_t)data.len;
        const size_t room = deflate_bound((size_t)data.len) + SPARE;
        uint8_t *both, *memory;
        size_t written = SIZE_MAX;
        Py_BEGIN_ALLOW_THREADS
        both = malloc(size + 1);
        memory = malloc(room);
        if (both != NULL && memory != NULL) {
            if (start) memcpy(both, before.buf, start);
            if (size - start) memcpy(both + start, data.buf, size - start);
            written = deflate_piece(both, start, size, last, memory, room);
        }
        free(both);
        Py_END_ALLOW_THREADS
        result = as_bytes(memory, written);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&before);
    return result;
}

enum { MOST_COLUMNS = 64 };

/* Buffers that are held while a call lasts. */
typedef struct {
    size_t count;
    Py_buffer buffers[3 * MOST_COLUMNS];
} Held;

static void let_go(Held *held) {
    while (held->count) PyBuffer_Release(held->buffers + --held->count);
}

/* Hold the buffers of a column of at least `rows` strings, given as a tuple: a buffer of bits that say which rows are
   not null, or None; the first row's bit; a buffer of 32-bit offsets; a buffer of the text, or None. Returns 0, or -1
   with an exception. */
static int column_from(PyObject *given, Py_ssize_t rows, Column *column, Held *held) {
    PyObject *valid, *offsets, *data;
    Py_ssize_t first;
    column->times = NULL;
    if (!PyArg_ParseTuple(given, "OnOO", &valid, &first, &offsets, &data)) return -1;
    PyObject *const wanted[3] = {valid, offsets, data};
    const Py_buffer *views[3] = {NULL, NULL, NULL};
    for (size_t i = 0; i < 3; i++) {
        if (wanted[i] == Py_None) continue;
        if (PyObject_GetBuffer(wanted[i], held->buffers + held->count, PyBUF_SIMPLE)) return -1;
        views[i] = held->buffers + held->count++;
    }
    if (rows < 0 || views[1] == NULL || views[1]->len / 4 < rows + 1 || first < 0 ||
        (views[0] != NULL && (views[0]->len < first / 8 || views[0]->len * 8 - first < rows))) {
        PyErr_SetString(PyExc_ValueError, "a column's buffers are too short for its rows");
        return -1;
    }
    column->valid = views[0] == NULL ? NULL : views[0]->buf;
    column->first_bit = (size_t)first;
    column->offsets = views[1]->buf;
    column->data = views[2] == NULL ? (const uint8_t *)"" : views[2]->buf;
    column->size = views[2] == NULL ? 0 : (size_t)views[2]->len;
    return 0;
}

/* The same for a column of times: two buffers of 64-bit integers, microseconds since 1970, and how far east of UTC, one
   for all or as many. */
static int times_from(PyObject *given, Py_ssize_t rows, Column *column, Held *held) {
    PyObject *wanted[2];
    if (!PyArg_ParseTuple(given, "OO", wanted, wanted + 1)) return -1;
    const Py_buffer *const views = held->buffers + held->count;
    for (size_t i = 0; i < 2; i++, held->count++)
        if (PyObject_GetBuffer(wanted[i], held->buffers + held->count, PyBUF_SIMPLE)) return -1;
    if (views[0].len / 8 < rows || (views[1].len != 8 && views[1].len / 8 < rows)) {
        PyErr_SetString(PyExc_ValueError, "a column's buffers are too short for its rows");
        return -1;
    }
    column->times = views[0].buf;
    column->east = views[1].buf;
    column->east_count = (size_t)views[1].len / 8;
    return 0;
}

PyDoc_STRVAR(render_doc,
             "render_csv(columns, rows, line_end, bounds, out, /)\n--\n\n"
             "Write rows as CSV into `out`: every value between quotes, its own doubled, a null as nothing.\n\n"
             "`columns` is a tuple with a tuple for each, at most 64. For text: a buffer of bits that say which rows are "
             "not null, or None;\nthe first row's bit; a buffer of 32-bit offsets, one more than rows; a buffer of the text, "
             "or None. For times, in ISO 8601:\nmicroseconds since 1970, and how many each is east of UTC, one for all or a "
             "row each, both native 64-bit integers. `line_end`\nis 8 bytes at the most. `bounds` are native 64-bit row "
             "numbers in rising order.\n\n"
             "Returns the bytes written; for each bound, the byte at which that row begins (64 bits each); and the bytes of "
             "the longest\ntext. Raises ValueError where offsets do not rise or leave the text, or `out` may be too small: "
             "it takes twice the text,\n35 bytes a time, three bytes a cell, the line ends, and 32 bytes.");

static PyObject *native_render_csv(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *given, *cuts = NULL, *result = NULL;
    Py_ssize_t rows;
    Py_buffer eol = {0}, bounds = {0}, out = {0};
    Held held = {.count = 0};
    if (!PyArg_ParseTuple(args, "O!ny*y*w*:render_csv", &PyTuple_Type, &given, &rows, &eol, &bounds, &out)) return NULL;
    Column columns[MOST_COLUMNS];
    const Py_ssize_t count = PyTuple_Size(given);
    if (count < 1 || count > MOST_COLUMNS || rows < 0 || rows > INT32_MAX || eol.len > 8 ||
        bounds.len % (Py_ssize_t)sizeof(int64_t) != 0) {
        PyErr_SetString(PyExc_ValueError, "columns, rows, line_end or bounds are not as they should be");
        goto done;
    }
    for (Py_ssize_t c = 0; c < count; c++) {
        PyObject *const one = PyTuple_GetItem(given, c);
        const int is_times = PyTuple_Check(one) && PyTuple_Size(one) == 2;
        if (is_times ? times_from(one, rows, columns + c, &held) : column_from(one, rows, columns + c, &held)) goto done;
    }
    cuts = PyBytes_FromStringAndSize(NULL, bounds.len);
    if (cuts == NULL) goto done;
    int64_t *to_cuts = (int64_t *)(void *)PyBytes_AsString(cuts);
    size_t written, longest;
    Py_BEGIN_ALLOW_THREADS
    written = render_csv(columns, (size_t)count, (size_t)rows, eol.buf, (size_t)eol.len, bounds.buf,
                         (size_t)bounds.len / sizeof(int64_t), to_cuts, &longest, out.buf, (size_t)out.len);
    Py_END_ALLOW_THREADS
    if (written == SIZE_MAX)
        PyErr_SetString(PyExc_ValueError, "offsets do not rise or leave the text, or there is not enough room");
    else
        result = Py_BuildValue("nOn", (Py_ssize_t)written, cuts, (Py_ssize_t)longest);
done:
    let_go(&held);
    Py_XDECREF(cuts);
    PyBuffer_Release(&eol);
    PyBuffer_Release(&bounds);
    PyBuffer_Release(&out);
    return result;
}

PyDoc_STRVAR(words_doc,
             "find_words(column, rows, words, /)\n--\n\n"
             "Which of `words`, a tuple of 16 at the most, each value is: a byte a row, their number where it is none of "
             "them or null.\n\n"
             "`column` is a tuple as in `render_csv`. Raises ValueError where offsets do not rise or leave the text.");

static PyObject *native_find_words(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *given, *said, *result = NULL;
    Py_ssize_t rows;
    Held held = {.count = 0};
    Column column;
    Word words[MOST_WORDS];
    if (!PyArg_ParseTuple(args, "O!nO!:find_words", &PyTuple_Type, &given, &rows, &PyTuple_Type, &said)) return NULL;
    const Py_ssize_t count = PyTuple_Size(said);
    if (count > MOST_WORDS) {
        PyErr_SetString(PyExc_ValueError, "there may be 16 words");
        return NULL;
    }
    for (Py_ssize_t w = 0; w < count; w++) {
        Py_ssize_t size;
        words[w].text = (const uint8_t *)PyUnicode_AsUTF8AndSize(PyTuple_GetItem(said, w), &size);
        if (words[w].text == NULL) return NULL;
        words[w].size = (size_t)size;
    }
    if (column_from(given, rows, &column, &held)) goto done;
    result = PyBytes_FromStringAndSize(NULL, rows);
    if (result != NULL &&
        find_words(&column, (size_t)rows, words, (size_t)count, (uint8_t *)(void *)PyBytes_AsString(result))) {
        Py_DECREF(result);
        result = NULL;
        PyErr_SetString(PyExc_ValueError, "offsets do not rise or leave the text");
    }
done:
    let_go(&held);
    return result;
}

PyDoc_STRVAR(doubled_doc,
             "count_doubled(column, rows, /)\n--\n\n"
             "How many values are the same as the one of the row before; a null is as none.\n\n"
             "`column` is a tuple as in `render_csv`. Raises ValueError where offsets do not rise or leave the text.");

static PyObject *native_count_doubled(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *given, *result = NULL;
    Py_ssize_t rows;
    Held held = {.count = 0};
    Column column;
    size_t doubled;
    if (!PyArg_ParseTuple(args, "O!n:count_doubled", &PyTuple_Type, &given, &rows)) return NULL;
    if (column_from(given, rows, &column, &held)) goto done;
    if (count_doubled(&column, (size_t)rows, &doubled))
        PyErr_SetString(PyExc_ValueError, "offsets do not rise or leave the text");
    else
        result = PyLong_FromSize_t(doubled);
done:
    let_go(&held);
    return result;
}

PyDoc_STRVAR(utf8_doc,
             "are_utf8(offsets, width, data, /)\n--\n\n"
             "Whether the texts between neighbouring `offsets` are UTF-8.\n\n"
             "`offsets` are one or more native integers of `width` bytes, 4 or 8. False, too, where they do not rise "
             "or leave the\n`data`, and for bytes between texts that are not UTF-8.");

/* Fewer bytes take less time than it may take to get the interpreter's lock back. */
enum { SHORT_WORK = 1 << 15 };

static PyObject *native_are_utf8(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer offsets = {0}, data = {0};
    Py_ssize_t width;
    if (!PyArg_ParseTuple(args, "y*ny*:are_utf8", &offsets, &width, &data)) return NULL;
    int sound = -1;
    if ((width != 4 && width != 8) || offsets.len < width || offsets.len % width) {
        PyErr_SetString(PyExc_ValueError, "offsets must be one or more integers of 4 or 8 bytes");
    } else {
        const size_t rows = (size_t)(offsets.len / width) - 1;
        PyThreadState *const thread = data.len < SHORT_WORK ? NULL : PyEval_SaveThread();
        sound = width == 4 ? are_utf8(offsets.buf, 4, rows, data.buf, (size_t)data.len)
                           : are_utf8(offsets.buf, 8, rows, data.buf, (size_t)data.len);
        if (thread != NULL) PyEval_RestoreThread(thread);
    }
    PyBuffer_Release(&offsets);
    PyBuffer_Release(&data);
    return sound < 0 ? NULL : PyBool_FromLong(sound);
}

PyDoc_STRVAR(interleave_doc,
             "interleave(columns, /)\n--\n\n"
             "Put records together: the first item of each column, then the second of each, and so on.\n\n"
             "`columns` is a tuple with a tuple for each, at most 64: a buffer, and where in it each item starts and "
             "stops (native\n64-bit integers, as many in each column). Returns the bytes. Raises ValueError for items "
             "that do not lie in theirs.");

typedef struct {
    const uint8_t *data, *starts, *stops;
    size_t size, count;
} Items;

/* Where an item starts and stops; 0 where it does not lie in its column. The buffers are read once. */
static inline int item_of(const Items *items, size_t i, size_t *start, size_t *size) {
    int64_t from, to;
    memcpy(&from, items->starts + i * sizeof from, sizeof from);
    memcpy(&to, items->stops + i * sizeof to, sizeof to);
    if (from < 0 || from > to || (uint64_t)to > items->size) return 0;
    *start = (size_t)from;
    *size = (size_t)(to - from);
    return 1;
}

/* The bytes of all records, or SIZE_MAX; written where `to` is not NULL, if they are not more than `room`. */
static size_t interleaved(const Items *columns, size_t count, uint8_t *to, size_t room) {
    size_t written = 0, start, size;
    for (size_t i = 0; i < columns->count; i++)
        for (size_t c = 0; c < count; c++) {
            if (!item_of(columns + c, i, &start, &size) || size > room - written) return SIZE_MAX;
            if (to != NULL && size) memcpy(to + written, columns[c].data + start, size);
            written += size;
        }
    return written;
}

static PyObject *native_interleave(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *given, *result = NULL;
    Held held = {.count = 0};
    if (!PyArg_ParseTuple(args, "O!:interleave", &PyTuple_Type, &given)) return NULL;
    Items columns[MOST_COLUMNS];
    const Py_ssize_t count = PyTuple_Size(given);
    if (count < 1 || count > MOST_COLUMNS) {
        PyErr_SetString(PyExc_ValueError, "interleave takes from 1 to 64 columns");
        return NULL;
    }
    for (Py_ssize_t c = 0; c < count; c++) {
        const Py_buffer *views = held.buffers + held.count;
        PyObject *wanted[3];
        if (!PyArg_ParseTuple(PyTuple_GetItem(given, c), "OOO", wanted, wanted + 1, wanted + 2)) goto done;
        for (size_t i = 0; i < 3; i++, held.count++)
            if (PyObject_GetBuffer(wanted[i], held.buffers + held.count, PyBUF_SIMPLE)) goto done;
        columns[c] = (Items){views[0].buf, views[1].buf, views[2].buf, (size_t)views[0].len,
                             (size_t)views[1].len / sizeof(int64_t)};
        if (views[1].len != views[2].len || columns[c].count != columns->count) {
            PyErr_SetString(PyExc_ValueError, "every column has as many starts and stops");
            goto done;
        }
    }
    size_t size, written = 0;
    Py_BEGIN_ALLOW_THREADS
    size = interleaved(columns, (size_t)count, NULL, PY_SSIZE_T_MAX / 2);
    Py_END_ALLOW_THREADS
    if (size != SIZE_MAX) {
        result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        if (result == NULL) goto done;
        uint8_t *to = (uint8_t *)PyBytes_AsString(result);
        Py_BEGIN_ALLOW_THREADS
        written = interleaved(columns, (size_t)count, to, size);
        Py_END_ALLOW_THREADS
    }
    if (size == SIZE_MAX || written != size) {
        Py_XDECREF(result);
        result = NULL;
        PyErr_SetString(PyExc_ValueError, "an item does not lie in its column");
    }
done:
    let_go(&held);
    return result;
}

/* Space that grows. */
typedef struct {
    uint8_t *data;
    size_t size, room;
} Space;

/* Room for `more` bytes behind what is there, or NULL with an exception. */
static uint8_t *space_for(Space *space, size_t more) {
    if (more > space->room - space->size) {
        const size_t room = 2 * space->room + more;
        uint8_t *const data = realloc(space->data, room);
        if (data == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        space->data = data;
        space->room = room;
    }
    return space->data + space->size;
}

enum { LONGEST_ENDING = 1024 };

/* What `member_names` is given: bytes that stand in every name. */
typedef struct {
    const uint8_t *text;
    size_t size;
} Given;

PyDoc_STRVAR(names_doc,
             "member_names(names, phones, count, rows, created, ending, folded_ending, unknown, room, key, odd, /)\n--\n\n"
             "Members' names, `<contact>--<created>--<channel>.csv`, that need no cleaning; those that may are asked for.\n\n"
             "`names` and `phones` are columns of `count` rows as in `render_csv`; `rows` and `created` native 64-bit "
             "integers, as many as\nmembers: the row that has a contact, and local microseconds since 1970. A contact is "
             "its name, else its phone, else `unknown`\n(UTF-8), and has `room` bytes at the most, 255 or fewer. "
             "`ending` is what stands behind the time, `folded_ending` the same\nto compare names by. `odd(member)` "
             "gives a name, and the name to compare it by, as UTF-8.\n\n"
             "Returns the names, each with a line end behind it; where each ends (64 bits each); and the digests, with "
             "a `key` of 16\nbytes, of what they are compared by. Raises ValueError for rows and offsets outside their "
             "columns, and what `odd` raises.");

static PyObject *native_member_names(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *given_names, *given_phones, *odd, *ends = NULL, *digests = NULL, *result = NULL;
    Py_ssize_t count, room;
    Py_buffer views[6] = {{0}}; /* rows, created, ending, folded ending, unknown, key */
    Held held = {.count = 0};
    Column columns[2];
    Space text = {NULL, 0, 0};
    if (!PyArg_ParseTuple(args, "OOny*y*y*y*y*ny*O:member_names", &given_names, &given_phones, &count, views, views + 1,
                          views + 2, views + 3, views + 4, &room, views + 5, &odd))
        return NULL;
    const size_t members = (size_t)views[0].len / sizeof(int64_t);
    const Given ending = {views[2].buf, (size_t)views[2].len}, folded_ending = {views[3].buf, (size_t)views[3].len};
    const Given unknown = {views[4].buf, (size_t)views[4].len};
    if (views[0].len % (Py_ssize_t)sizeof(int64_t) || views[1].len != views[0].len || room < 0 || room > LONGEST_LABEL ||
        ending.size > LONGEST_ENDING || folded_ending.size > LONGEST_ENDING || unknown.size > LONGEST_LABEL ||
        views[5].len != 16) {
        PyErr_SetString(PyExc_ValueError, "rows, created, endings, unknown, room or key are not as they should be");
        goto done;
    }
    if (column_from(given_names, count, columns, &held) || column_from(given_phones, count, columns + 1, &held)) goto done;
    ends = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(members * sizeof(int64_t)));
    digests = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(members * sizeof(uint64_t)));
    if (ends == NULL || digests == NULL) goto done;
    uint8_t *to_end = (uint8_t *)(void *)PyBytes_AsString(ends), *to_digest = (uint8_t *)(void *)PyBytes_AsString(digests);
    const uint64_t key[2] = {load64(views[5].buf), load64((const uint8_t *)views[5].buf + 8)};
    for (size_t i = 0; i < members; i++, to_end += 8, to_digest += 8) {
        uint8_t folded[4 * LONGEST_LABEL + 2 + TIME_SIZE + LONGEST_ENDING];
        const uint64_t row = loaded64((const uint8_t *)views[0].buf + 8 * i);
        const int64_t created = (int64_t)loaded64((const uint8_t *)views[1].buf + 8 * i);
        size_t start = 0, size = 0, folded_size = SIZE_MAX;
        int found = row < (uint64_t)count ? cell_of(columns, (size_t)row, &start, &size) : -1;
        const uint8_t *label = columns[0].data + start;
        if (found >= 0 && !size) {
            found = cell_of(columns + 1, (size_t)row, &start, &size);
            label = columns[1].data + start;
        }
        if (found < 0) {
            PyErr_SetString(PyExc_ValueError, "rows or offsets lead out of the columns");
            goto done;
        }
        if (!size) {
            label = unknown.text;
            size = unknown.size;
        }
        if (size <= (size_t)room) folded_size = fold_label(label, size, folded);
        if (folded_size != SIZE_MAX) {
            uint8_t *to = space_for(&text, size + 2 + TIME_SIZE + ending.size + 1);
            if (to == NULL) goto done;
            memcpy(to, label, size);
            memcpy(to + size, "--", 2);
            put_time(to + size + 2, created);
            memcpy(folded + folded_size, to + size, 2 + TIME_SIZE);
            folded_size += 2 + TIME_SIZE;
            if (ending.size) memcpy(to + size + 2 + TIME_SIZE, ending.text, ending.size);
            if (folded_ending.size) memcpy(folded + folded_size, folded_ending.text, folded_ending.size);
            const uint64_t digest = digest_of(key, folded, folded_size + folded_ending.size);
            memcpy(to_digest, &digest, sizeof digest);
            text.size += size + 2 + TIME_SIZE + ending.size;
        } else {
            PyObject *const pair = PyObject_CallFunction(odd, "n", (Py_ssize_t)i);
            const char *name, *compared;
            Py_ssize_t name_size, compared_size;
            if (pair == NULL) goto done;
            if (!PyTuple_Check(pair) || !PyArg_ParseTuple(pair, "y#y#", &name, &name_size, &compared, &compared_size) ||
                space_for(&text, (size_t)name_size + 1) == NULL) {
                if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "odd must return two bytes objects");
                Py_DECREF(pair);
                goto done;
            }
            const uint64_t digest = digest_of(key, (const uint8_t *)compared, (size_t)compared_size);
            memcpy(to_digest, &digest, sizeof digest);
            if (name_size) memcpy(text.data + text.size, name, (size_t)name_size);
            text.size += (size_t)name_size;
            Py_DECREF(pair);
        }
        const int64_t end = (int64_t)text.size;
        memcpy(to_end, &end, sizeof end);
        text.data[text.size++] = '\n';
    }
    PyObject *const said = PyBytes_FromStringAndSize((const char *)text.data, (Py_ssize_t)text.size);
    if (said != NULL) result = PyTuple_Pack(3, said, ends, digests);
    Py_XDECREF(said);
done:
    free(text.data);
    let_go(&held);
    for (size_t i = 0; i < 6; i++) PyBuffer_Release(views + i);
    Py_XDECREF(ends);
    Py_XDECREF(digests);
    return result;
}

PyDoc_STRVAR(digests_doc,
             "digest_rows(column, count, rows, key, /)\n--\n\n"
             "The SipHash-1-3 of the values in some `rows` (native 64-bit integers) of a column of `count` rows as in "
             "`render_csv`, with a\n`key` of 16 bytes: native 64 bits each, a null as the empty text. Raises ValueError for "
             "rows and offsets outside it.");

static PyObject *native_digest_rows(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *given, *result = NULL;
    Py_ssize_t count;
    Py_buffer rows = {0}, key = {0};
    Held held = {.count = 0};
    Column column;
    if (!PyArg_ParseTuple(args, "Ony*y*:digest_rows", &given, &count, &rows, &key)) return NULL;
    if (rows.len % (Py_ssize_t)sizeof(int64_t) || key.len != 16) {
        PyErr_SetString(PyExc_ValueError, "rows must be 64-bit integers, the key 16 bytes");
        goto done;
    }
    if (column_from(given, count, &column, &held)) goto done;
    result = PyBytes_FromStringAndSize(NULL, rows.len);
    if (result == NULL) goto done;
    uint8_t *const to = (uint8_t *)(void *)PyBytes_AsString(result);
    const uint64_t keys[2] = {load64(key.buf), load64((const uint8_t *)key.buf + 8)};
    for (size_t at = 0; at < (size_t)rows.len; at += 8) {
        const uint64_t row = loaded64((const uint8_t *)rows.buf + at);
        size_t start = 0, size = 0;
        if (row >= (uint64_t)count || cell_of(&column, (size_t)row, &start, &size) < 0) {
            Py_DECREF(result);
            result = NULL;
            PyErr_SetString(PyExc_ValueError, "rows or offsets lead out of the column");
            break;
        }
        const uint64_t digest = digest_of(keys, column.data + start, size);
        memcpy(to + at, &digest, sizeof digest);
    }
done:
    let_go(&held);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&key);
    return result;
}

PyDoc_STRVAR(crc32_doc, "crc32(data, start=0, /)\n--\n\nThe CRC-32 of `data`, continuing from `start`.");

static PyObject *native_crc32(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer data = {0};
    unsigned int start = 0;
    if (!PyArg_ParseTuple(args, "y*|I:crc32", &data, &start)) return NULL;
    uint32_t crc;
    Py_BEGIN_ALLOW_THREADS
    crc = crc32_of(start, data.buf, (size_t)data.len);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(crc);
}

static PyMethodDef methods[] = {
    {"deflate_members", native_deflate_members, METH_VARARGS, members_doc},
    {"zip_members", native_zip_members, METH_VARARGS, zip_doc},
    {"deflate_piece", native_deflate_piece, METH_VARARGS, piece_doc},
    {"render_csv", native_render_csv, METH_VARARGS, render_doc},
    {"find_words", native_find_words, METH_VARARGS, words_doc},
    {"count_doubled", native_count_doubled, METH_VARARGS, doubled_doc},
    {"are_utf8", native_are_utf8, METH_VARARGS, utf8_doc},
    {"member_names", native_member_names, METH_VARARGS, names_doc},
    {"digest_rows", native_digest_rows, METH_VARARGS, digests_doc},
    {"interleave", native_interleave, METH_VARARGS, interleave_doc},
    {"crc32", native_crc32, METH_VARARGS, crc32_doc},
    {NULL, NULL, 0, NULL},
};

static int native_exec(PyObject *module) { return PyModule_AddIntConstant(module, "VERSION", KERNEL_VERSION); }

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)native_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Deflate for a whole group of members in one call.", 0, methods, slots,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }

#endif
