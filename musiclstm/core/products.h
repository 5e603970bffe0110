/* Exact dot products of int8 vectors: AVX2, VNNI, the dot product of ARM, WebAssembly, or plain C. */
#ifndef MUSICLSTM_PRODUCTS_H
#define MUSICLSTM_PRODUCTS_H

#include <stdint.h>

enum {
    COLUMNS = 32, /* of a block: four rows of a matrix side by side */
    BLOCK = 4 * COLUMNS,
    AHEAD = 2048, /* bytes that are prefetched */
    MAX_WEIGHT = 31, /* two sums of two products with 0..255 fit into 16 bits */
};

/* A vector rounded to int8: value = scale * values[i]. */
typedef struct {
    int8_t *values;
    float scale;
} QuantizedVector;

/* Hardware prefetching ends at every page; this does not. */
static inline void prefetch(const int8_t *w, int32_t blocks) {
    for (int32_t line = 0; line < 2 * blocks; line++) __builtin_prefetch(w + 64 * line);
}

/* out[r] = sum of w[r, i] * x[i] for the four rows of `blocks` blocks, an even number. sums[r]: sum of
 * w[r, i]. ahead: whether to prefetch the following rows. Each processor defines it. */

#if defined(__AVX2__)
#include <immintrin.h>

enum { OFFSET = 128 }; /* makes x unsigned: the processor multiplies unsigned by signed */

static inline __m256i load_unsigned(const int8_t *x) {
    const __m256i value = _mm256_loadu_si256((const __m256i *)x);
    return _mm256_xor_si256(value, _mm256_set1_epi8(-OFFSET));
}

/* Products of two neighbouring blocks with x and y. */
static inline __m256i dot_accumulate(__m256i sum, __m256i x, __m256i y, const int8_t *w) {
    const __m256i first = _mm256_loadu_si256((const __m256i *)w);
    const __m256i second = _mm256_loadu_si256((const __m256i *)(w + BLOCK));
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(sum, x, first), y, second);
#elif defined(__AVXVNNI__)
    return _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(sum, x, first), y, second);
#else
    const __m256i pairs =
        _mm256_add_epi16(_mm256_maddubs_epi16(x, first), _mm256_maddubs_epi16(y, second));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

static inline void dot_four_rows(const int8_t *w, const QuantizedVector *x, int32_t blocks,
                                 const int32_t *sums, int32_t ahead, int32_t *out) {
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (int32_t i = 0; i < blocks; i += 2, w += 2 * BLOCK) {
        if (ahead) prefetch(w + AHEAD, 2);
        const __m256i value = load_unsigned(x->values + COLUMNS * i);
        const __m256i next = load_unsigned(x->values + COLUMNS * (i + 1));
        a = dot_accumulate(a, value, next, w);
        b = dot_accumulate(b, value, next, w + COLUMNS);
        c = dot_accumulate(c, value, next, w + 2 * COLUMNS);
        d = dot_accumulate(d, value, next, w + 3 * COLUMNS);
    }
    const __m256i both = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    const __m128i low = _mm256_castsi256_si128(both), high = _mm256_extracti128_si256(both, 1);
    const __m128i offset = _mm_slli_epi32(_mm_loadu_si128((const __m128i *)sums), 7);
    _mm_storeu_si128((__m128i *)out, _mm_sub_epi32(_mm_add_epi32(low, high), offset));
}

#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

static inline int32x4_t dot_accumulate(int32x4_t sum, const int8_t *x, const int8_t *w) {
    sum = vdotq_s32(sum, vld1q_s8(w), vld1q_s8(x));
    return vdotq_s32(sum, vld1q_s8(w + 16), vld1q_s8(x + 16));
}

static inline void dot_four_rows(const int8_t *w, const QuantizedVector *x, int32_t blocks,
                                 const int32_t *sums, int32_t ahead, int32_t *out) {
    (void)sums;
    int32x4_t a = vdupq_n_s32(0), b = a, c = a, d = a;
    for (int32_t i = 0; i < blocks; i++, w += BLOCK) {
        const int8_t *values = x->values + COLUMNS * i;
        if (ahead) prefetch(w + AHEAD, 1);
        a = dot_accumulate(a, values, w);
        b = dot_accumulate(b, values, w + COLUMNS);
        c = dot_accumulate(c, values, w + 2 * COLUMNS);
        d = dot_accumulate(d, values, w + 3 * COLUMNS);
    }
    out[0] = vaddvq_s32(a), out[1] = vaddvq_s32(b), out[2] = vaddvq_s32(c), out[3] = vaddvq_s32(d);
}

#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>

/* Products of pairs fit into 32 bits, so that one instruction multiplies and adds two. */
static inline v128_t dot_accumulate(v128_t sum, v128_t low, v128_t high, const int8_t *w) {
    sum = wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(low, wasm_i16x8_load8x8(w)));
    return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(high, wasm_i16x8_load8x8(w + 8)));
}

/* The sums of the lanes of a and of b: (a, a, b, b), each in two parts. */
static inline v128_t add_halves(v128_t a, v128_t b) {
    return wasm_i32x4_add(wasm_i32x4_shuffle(a, b, 0, 1, 4, 5), wasm_i32x4_shuffle(a, b, 2, 3, 6, 7));
}

static __attribute__((noinline)) void dot_four_rows(const int8_t *w, const QuantizedVector *x,
                                                    int32_t blocks, const int32_t *sums,
                                                    int32_t ahead, int32_t *out) {
    (void)sums, (void)ahead;
    v128_t a = wasm_i32x4_splat(0), b = a, c = a, d = a;
    const int8_t *values = x->values, *end = values + COLUMNS * blocks;
    /* Half a block at a time: wasmtime moves all loads to the front, and registers are few. */
    for (int32_t next = COLUMNS / 2; values < end; values += COLUMNS / 2) {
        const v128_t low = wasm_i16x8_load8x8(values), high = wasm_i16x8_load8x8(values + 8);
        a = dot_accumulate(a, low, high, w);
        b = dot_accumulate(b, low, high, w + COLUMNS);
        c = dot_accumulate(c, low, high, w + 2 * COLUMNS);
        d = dot_accumulate(d, low, high, w + 3 * COLUMNS);
        w += next, next = BLOCK - next;
    }
    const v128_t ab = add_halves(a, b), cd = add_halves(c, d);
    wasm_v128_store(out, wasm_i32x4_add(wasm_i32x4_shuffle(ab, cd, 0, 2, 4, 6),
                                        wasm_i32x4_shuffle(ab, cd, 1, 3, 5, 7)));
}

#else

static inline void dot_four_rows(const int8_t *w, const QuantizedVector *x, int32_t blocks,
                                 const int32_t *sums, int32_t ahead, int32_t *out) {
    (void)sums, (void)ahead;
    for (int row = 0; row < 4; row++) out[row] = 0;
    for (int32_t i = 0; i < blocks; i++, w += BLOCK)
        for (int row = 0; row < 4; row++)
            for (int column = 0; column < COLUMNS; column++)
                out[row] += w[row * COLUMNS + column] * x->values[COLUMNS * i + column];
}

#endif

#endif
