/* Exact dot products of int8 vectors: AVX2, VNNI, the dot product of ARM, or plain C. */
#ifndef MUSICLSTM_PRODUCTS_H
#define MUSICLSTM_PRODUCTS_H

#include <stdint.h>

enum {
    COLUMNS = 32, /* of a block: four rows of a matrix side by side */
    BLOCK = 4 * COLUMNS,
    AHEAD = 2048, /* bytes that are prefetched */
};

/* A vector rounded to int8: value = scale * values[i]. */
typedef struct {
    int8_t *values;
    float scale;
} QuantizedVector;

/* out[r] = sum of w[r, i] * x[i] for the four rows of `blocks` blocks. Each processor defines it. */

#if defined(__AVX2__)
#include <immintrin.h>

/* Magnitudes of x times (w with the sign of x): the processor multiplies unsigned by signed.
 * Two products of at most 127 * 127 fit into 16 bits. */
static inline __m256i dot_accumulate(__m256i sum, __m256i magnitude, __m256i x, const int8_t *w) {
    __m256i signed_w = _mm256_sign_epi8(_mm256_loadu_si256((const __m256i *)w), x);
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return _mm256_dpbusd_epi32(sum, magnitude, signed_w);
#elif defined(__AVXVNNI__)
    return _mm256_dpbusd_avx_epi32(sum, magnitude, signed_w);
#else
    __m256i pairs = _mm256_maddubs_epi16(magnitude, signed_w);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

static inline void dot_four_rows(const int8_t *w, const QuantizedVector *x, int32_t blocks, int32_t *out) {
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (int32_t i = 0; i < blocks; i++, w += BLOCK) {
        /* Hardware prefetching ends at every page; this does not. */
        _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)w + AHEAD + 64, _MM_HINT_T0);
        __m256i value = _mm256_loadu_si256((const __m256i *)(x->values + COLUMNS * i));
        __m256i magnitude = _mm256_abs_epi8(value);
        a = dot_accumulate(a, magnitude, value, w);
        b = dot_accumulate(b, magnitude, value, w + COLUMNS);
        c = dot_accumulate(c, magnitude, value, w + 2 * COLUMNS);
        d = dot_accumulate(d, magnitude, value, w + 3 * COLUMNS);
    }
    __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    __m128i low = _mm256_castsi256_si128(sums), high = _mm256_extracti128_si256(sums, 1);
    _mm_storeu_si128((__m128i *)out, _mm_add_epi32(low, high));
}

#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

static inline int32x4_t dot_accumulate(int32x4_t sum, const int8_t *x, const int8_t *w) {
    sum = vdotq_s32(sum, vld1q_s8(w), vld1q_s8(x));
    return vdotq_s32(sum, vld1q_s8(w + 16), vld1q_s8(x + 16));
}

static inline void dot_four_rows(const int8_t *w, const QuantizedVector *x, int32_t blocks, int32_t *out) {
    int32x4_t a = vdupq_n_s32(0), b = a, c = a, d = a;
    for (int32_t i = 0; i < blocks; i++, w += BLOCK) {
        const int8_t *values = x->values + COLUMNS * i;
        __builtin_prefetch(w + AHEAD);
        __builtin_prefetch(w + AHEAD + 64);
        a = dot_accumulate(a, values, w);
        b = dot_accumulate(b, values, w + COLUMNS);
        c = dot_accumulate(c, values, w + 2 * COLUMNS);
        d = dot_accumulate(d, values, w + 3 * COLUMNS);
    }
    out[0] = vaddvq_s32(a), out[1] = vaddvq_s32(b), out[2] = vaddvq_s32(c), out[3] = vaddvq_s32(d);
}

#else

static inline void dot_four_rows(const int8_t *w, const QuantizedVector *x, int32_t blocks, int32_t *out) {
    for (int row = 0; row < 4; row++) out[row] = 0;
    for (int32_t i = 0; i < blocks; i++, w += BLOCK)
        for (int row = 0; row < 4; row++)
            for (int column = 0; column < COLUMNS; column++)
                out[row] += w[row * COLUMNS + column] * x->values[COLUMNS * i + column];
}

#endif

#endif
