/* One step of the stacked LSTM of modeling.py for a few rows, on int8 weights.
 *
 * A step is memory traffic: every weight is read once and used once per row. So the weights are
 * int8 and lie in the order in which they are read, four rows of a matrix side by side in blocks
 * of 32 columns; kernel.py writes them so. What a layer reads is rounded to -127..127 with one
 * scale for its input and one for its memory, sums are exact integers, everything else is float.
 * Hence a row comes out the same, bit for bit, whatever other rows there are.
 *
 * Beside it what else is done for every token: the draw, and the votes of recall.py.
 *
 * Knows nothing of Python, of what a token means or of music. No memory is allocated here.
 */
#include <stddef.h>
#include <stdint.h>

enum { COLUMNS = 32, BLOCK = 4 * COLUMNS, LANES = 8, AHEAD = 2048 };

static const float TINY = 1e-36f; /* what is smaller is taken for nothing */

typedef struct {
    int32_t layers, size, vocab; /* vocab: rounded up to a multiple of four */
    int32_t residual, layer_norm;
    float epsilon;
    const int8_t *weights;    /* (layers, units / 4, 4 gates, 2, blocks, 4 units, 32); the 2: of the
                                 input, of memory */
    const float *scales;      /* (layers, 2, 4 gates, units); units: size rounded up to fours */
    const float *biases;      /* (layers, 4 gates, units) */
    const float *norms;       /* (layers + 1, 2, size): weight and bias */
    const float *embeddings;  /* (vocab, size) */
    const int8_t *head;       /* (vocab / 4, blocks, 4 tokens, 32) */
    const float *head_scales; /* (vocab) */
} Network;

/* What a matrix is multiplied with: rounded values, and what one unit of them is worth. */
typedef struct {
    int8_t *values;
    float scale;
} Rounded;

/* Four sums of products of int8, exact ------------------------------------------------------- */

#if defined(__AVX2__)
#include <immintrin.h>

/* Magnitudes of x times (w with the sign of x): unsigned times signed is what the processor has.
 * Two products of at most 127 * 127 fit into 16 bits. */
static inline __m256i add_products(__m256i sum, __m256i magnitude, __m256i x, const int8_t *w) {
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

static inline void four_products(const int8_t *w, const Rounded *x, int blocks, int32_t *out) {
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (int i = 0; i < blocks; i++, w += BLOCK) {
        /* The processor stops reading ahead at every page; this does not. */
        _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)w + AHEAD + 64, _MM_HINT_T0);
        __m256i value = _mm256_loadu_si256((const __m256i *)(x->values + COLUMNS * i));
        __m256i magnitude = _mm256_abs_epi8(value);
        a = add_products(a, magnitude, value, w);
        b = add_products(b, magnitude, value, w + COLUMNS);
        c = add_products(c, magnitude, value, w + 2 * COLUMNS);
        d = add_products(d, magnitude, value, w + 3 * COLUMNS);
    }
    __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    __m128i low = _mm256_castsi256_si128(sums), high = _mm256_extracti128_si256(sums, 1);
    _mm_storeu_si128((__m128i *)out, _mm_add_epi32(low, high));
}

#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

static inline int32x4_t add_products(int32x4_t sum, const int8_t *x, const int8_t *w) {
    sum = vdotq_s32(sum, vld1q_s8(w), vld1q_s8(x));
    return vdotq_s32(sum, vld1q_s8(w + 16), vld1q_s8(x + 16));
}

static inline void four_products(const int8_t *w, const Rounded *x, int blocks, int32_t *out) {
    int32x4_t a = vdupq_n_s32(0), b = a, c = a, d = a;
    for (int i = 0; i < blocks; i++, w += BLOCK) {
        const int8_t *values = x->values + COLUMNS * i;
        __builtin_prefetch(w + AHEAD);
        __builtin_prefetch(w + AHEAD + 64);
        a = add_products(a, values, w);
        b = add_products(b, values, w + COLUMNS);
        c = add_products(c, values, w + 2 * COLUMNS);
        d = add_products(d, values, w + 3 * COLUMNS);
    }
    out[0] = vaddvq_s32(a), out[1] = vaddvq_s32(b), out[2] = vaddvq_s32(c), out[3] = vaddvq_s32(d);
}

#else
#error "No fast product of int8 on this processor: decoding.py has its own way then."
#endif

/* 0 when the sums above are right on this machine; asked once, in a process of its own. */
int32_t self_check(void) {
    int8_t w[2 * BLOCK], values[2 * COLUMNS];
    const Rounded x = {values, 1.0f};
    int32_t found[4], wrong = 0;
    for (int i = 0; i < 2 * BLOCK; i++) w[i] = (int8_t)(i % 3 ? 127 - i % 5 : i % 7 - 127);
    for (int i = 0; i < 2 * COLUMNS; i++)
        values[i] = (int8_t)(i % 4 ? 127 - i % 2 : i % 3 - 127);
    four_products(w, &x, 2, found);
    for (int row = 0; row < 4; row++)
        for (int i = 0; i < 2 * COLUMNS; i++)
            found[row] -= w[i / COLUMNS * BLOCK + row * COLUMNS + i % COLUMNS] * values[i];
    for (int row = 0; row < 4; row++) wrong |= found[row];
    return wrong != 0;
}

/* Element by element; plain loops that the compiler turns into vectors ------------------------ */

static inline float exponential(float x) {
    x = x < 87.0f ? x : 87.0f;
    x = x > -87.0f ? x : -87.0f;
    /* Adding 1.5 * 2^23 leaves no digits behind the point: the nearest whole number. */
    float power = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    /* ln 2 in two parts, so that the difference keeps all its digits */
    float r = (x - power * 0.693359375f) + power * 2.12194440e-4f;
    float e = 1.0f + r * (1 / 7.0f); /* Taylor, Horner's way; |r| is at most ln(2) / 2 */
    e = 1.0f + r * (1 / 6.0f) * e;
    e = 1.0f + r * (1 / 5.0f) * e;
    e = 1.0f + r * (1 / 4.0f) * e;
    e = 1.0f + r * (1 / 3.0f) * e;
    e = 1.0f + r * (1 / 2.0f) * e;
    e = 1.0f + r * e;
    union { int32_t bits; float value; } two = {((int32_t)power + 127) << 23};
    return e * two.value;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

static inline float hyperbolic_tangent(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

/* Sums run in eight lanes, in one order on every machine. */
static float sum_of(const float *x, int size) {
    float lanes[LANES] = {0};
    int i = 0;
    for (; i + LANES <= size; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += x[i + l];
    for (int l = 0; i < size; i++, l++) lanes[l] += x[i];
    return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5]))
         + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

static float root(float x) { return __builtin_sqrtf(x); }

static void normalise(const float *x, const float *norm, int size, float epsilon, float *out) {
    float mean = sum_of(x, size) / size;
    for (int i = 0; i < size; i++) out[i] = (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / root(sum_of(out, size) / size + epsilon);
    for (int i = 0; i < size; i++) out[i] = (x[i] - mean) * scale * norm[i] + norm[size + i];
}

static void round_off(const float *restrict x, int size, Rounded *out) {
    int8_t *restrict values = out->values;
    int32_t largest = 0; /* floats without a sign are in the order of their bits */
    for (int i = 0; i < size; i++) {
        union { float value; int32_t bits; } each = {x[i]};
        int32_t magnitude = each.bits & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
    }
    union { int32_t bits; float value; } most = {largest};
    float units = most.value > TINY ? 127.0f / most.value : 0.0f;
    for (int i = 0; i < size; i++) {
        float scaled = x[i] * units;
        values[i] = (int8_t)(int32_t)(scaled + (scaled < 0 ? -0.5f : 0.5f));
    }
    out->scale = most.value > TINY ? most.value / 127.0f : 0.0f;
}

/* gates: (4, units) in the order input, forget, new, output; residual: 1 or 0 */
static void remember(const float *restrict gates, int size, int units, float residual,
                     float *restrict hidden, float *restrict cell, float *restrict x) {
    for (int i = 0; i < size; i++) {
        float enter = sigmoid(gates[i]), forget = sigmoid(gates[units + i]);
        float fresh = hyperbolic_tangent(gates[2 * units + i]);
        float out = sigmoid(gates[3 * units + i]);
        cell[i] = forget * cell[i] + enter * fresh;
        hidden[i] = out * hyperbolic_tangent(cell[i]);
        x[i] = residual * x[i] + hidden[i];
    }
}

/* The stack ------------------------------------------------------------------------------------ */

/* Where a call keeps what lies between its parts; one piece of memory that the caller lends. */
typedef struct {
    Rounded *input, *memory; /* (rows) */
    int32_t *sums;           /* (rows, 2, 4 gates, units) */
    float *gates;            /* (4, units) */
    float *normed;           /* (size) */
} Desk;

static int32_t whole_blocks(int32_t size) { return (size + COLUMNS - 1) / COLUMNS; }

static int32_t whole_fours(int32_t size) { return (size + 3) / 4 * 4; }

int64_t desk_bytes(const Network *net, int32_t rows) {
    int64_t columns = (int64_t)whole_blocks(net->size) * COLUMNS, units = whole_fours(net->size);
    return rows * (2 * (int64_t)sizeof(Rounded) + 2 * columns + 32 * units)
         + 16 * units + 4 * (int64_t)net->size;
}

/* The desk arrives filled with zeros, and columns beyond `size` stay zero. */
static Desk lay_out(const Network *net, int32_t rows, char *at) {
    int64_t columns = (int64_t)whole_blocks(net->size) * COLUMNS, units = whole_fours(net->size);
    Desk desk;
    desk.input = (Rounded *)at, at += rows * sizeof(Rounded);
    desk.memory = (Rounded *)at, at += rows * sizeof(Rounded);
    desk.sums = (int32_t *)at, at += rows * 32 * units;
    desk.gates = (float *)at, at += 16 * units;
    desk.normed = (float *)at, at += 4 * (int64_t)net->size;
    for (int32_t row = 0; row < 2 * rows; row++) /* `memory` lies right behind `input` */
        desk.input[row].values = (int8_t *)at, at += columns;
    return desk;
}

/* All products of a layer, in the order in which the weights lie. */
static void multiply(const Network *net, int32_t layer, int32_t rows, const Desk *desk) {
    const int32_t blocks = whole_blocks(net->size), units = whole_fours(net->size);
    const int8_t *w = net->weights + (size_t)layer * 4 * units * 2 * blocks * COLUMNS;
    for (int32_t unit = 0; unit < units; unit += 4) {
        for (int32_t gate = 0; gate < 4; gate++, w += 2 * blocks * BLOCK) {
            for (int32_t row = 0; row < rows; row++) {
                int32_t *sums = desk->sums + (size_t)row * 8 * units + gate * units + unit;
                four_products(w, desk->input + row, blocks, sums);
                four_products(w + blocks * BLOCK, desk->memory + row, blocks, sums + 4 * units);
            }
        }
    }
}

static void weigh(const Network *net, int32_t layer, int32_t row, const Desk *desk) {
    const int32_t count = 4 * whole_fours(net->size);
    const int32_t *restrict of_x = desk->sums + (size_t)row * 2 * count, *of_h = of_x + count;
    const float *scale_x = net->scales + (size_t)layer * 2 * count, *scale_h = scale_x + count;
    const float *bias = net->biases + (size_t)layer * count;
    const float x = desk->input[row].scale, h = desk->memory[row].scale;
    float *restrict gates = desk->gates;
    for (int32_t i = 0; i < count; i++)
        gates[i] = of_x[i] * (x * scale_x[i]) + of_h[i] * (h * scale_h[i]) + bias[i];
}

static void run_layer(const Network *net, int32_t layer, int32_t rows, const Desk *desk,
                      float *hidden, float *cell, float *x) {
    const int32_t size = net->size;
    for (int32_t row = 0; row < rows; row++) {
        const float *entering = x + (size_t)row * size;
        if (net->layer_norm) {
            const float *norm = net->norms + (size_t)layer * 2 * size;
            normalise(entering, norm, size, net->epsilon, desk->normed);
            entering = desk->normed;
        }
        round_off(entering, size, desk->input + row);
        round_off(hidden + (size_t)row * size, size, desk->memory + row);
    }
    multiply(net, layer, rows, desk);
    for (int32_t row = 0; row < rows; row++) {
        size_t at = (size_t)row * size;
        weigh(net, layer, row, desk);
        remember(desk->gates, size, whole_fours(size), (float)net->residual, hidden + at, cell + at,
                 x + at);
    }
}

/* Reads one token a row. hidden, cell: (layers, rows, size), moved on in place; out: (rows, size),
 * what the last norm gives. */
void run_stack(const Network *net, int32_t rows, const int64_t *ids, float *hidden, float *cell,
               float *out, char *lent) {
    const int32_t size = net->size;
    const Desk desk = lay_out(net, rows, lent);
    for (int32_t row = 0; row < rows; row++)
        for (int32_t i = 0; i < size; i++)
            out[(size_t)row * size + i] = net->embeddings[(size_t)ids[row] * size + i];
    for (int32_t layer = 0; layer < net->layers; layer++) {
        size_t at = (size_t)layer * rows * size;
        run_layer(net, layer, rows, &desk, hidden + at, cell + at, out);
    }
    if (!net->layer_norm) return;
    for (int32_t row = 0; row < rows; row++) {
        float *x = out + (size_t)row * size;
        normalise(x, net->norms + (size_t)net->layers * 2 * size, size, net->epsilon, desk.normed);
        for (int32_t i = 0; i < size; i++) x[i] = desk.normed[i];
    }
}

/* x: (rows, size); scores: (rows, vocab) */
void run_head(const Network *net, int32_t rows, const float *x, float *scores, char *lent) {
    const int32_t size = net->size, blocks = whole_blocks(size);
    const Desk desk = lay_out(net, rows, lent);
    for (int32_t row = 0; row < rows; row++)
        round_off(x + (size_t)row * size, size, desk.input + row);
    for (int32_t token = 0; token < net->vocab; token += 4) {
        for (int32_t row = 0; row < rows; row++) {
            int32_t sums[4];
            four_products(net->head + (size_t)token * blocks * COLUMNS, desk.input + row, blocks,
                          sums);
            for (int i = 0; i < 4; i++)
                scores[(size_t)row * net->vocab + token + i] =
                    sums[i] * (desk.input[row].scale * net->head_scales[token + i]);
        }
    }
}

/* One token ------------------------------------------------------------------------------------ */

enum { STRETCH = 64, NO_TOKEN = -1, OUTSIDE = -2 };

static float highest_of(const float *x, int size) {
    float lanes[LANES], highest;
    int i = 0;
    for (int l = 0; l < LANES; l++) lanes[l] = x[0];
    for (; i + LANES <= size; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (highest = lanes[0]; i < size; i++) highest = x[i] > highest ? x[i] : highest;
    for (int l = 0; l < LANES; l++) highest = lanes[l] > highest ? lanes[l] : highest;
    return highest;
}

static int is_number_throughout(const float *x, int size) {
    int32_t broken = 0;
    for (int i = 0; i < size; i++) broken |= x[i] != x[i];
    return !broken;
}

static double stretch_sum(const float *x, int32_t from, int32_t size) {
    return sum_of(x + from, size - from < STRETCH ? size - from : STRETCH);
}

/* exp(score - highest), summed up; the highest score is left in `highest`. */
double sum_of_shares(const float *scores, int32_t size, float *highest) {
    float lanes[LANES] = {0}, top = highest_of(scores, size);
    double sum = 0.0;
    int32_t i = 0;
    for (; i + LANES <= size; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += exponential(scores[i + l] - top);
    for (; i < size; i++) sum += exponential(scores[i] - top);
    for (int l = 0; l < LANES; l++) sum += lanes[l];
    *highest = top;
    return sum;
}

/* The first place whose share, added to all before it, passes `target`. */
static int32_t place_of(const float *shares, int32_t size, double target) {
    int32_t place = 0, last = size - 1;
    for (double part; place < size; place += STRETCH, target -= part)
        if ((part = stretch_sum(shares, place, size)) > target) break;
    for (; place < size; place++) {
        if (shares[place] > target) return place;
        target -= shares[place];
    }
    while (shares[last] == 0) last--; /* rounded past the end */
    return last;
}

/* Draws in proportion to exp(score * rate), from what is no less likely than the share `min_p` of the
 * likeliest; `chance` is from 0 to below 1. Leaves the shares where the scores were. NO_TOKEN where nothing is allowed (all at minus infinity) or a score is no number;
 * OUTSIDE where the token drawn is not among the likeliest that together reach `top_p`. */
int32_t draw(float *scores, int32_t size, float rate, double top_p, float min_p, double chance) {
    const float highest = highest_of(scores, size);
    if (highest - highest != 0 || !is_number_throughout(scores, size)) return NO_TOKEN;
    for (int32_t i = 0; i < size; i++) {
        float below = (scores[i] - highest) * rate, share = exponential(below);
        scores[i] = below > -40.0f && share >= min_p ? share : 0.0f;
    }
    const float *shares = scores;
    double whole = 0.0, likelier = 0.0;
    for (int32_t i = 0; i < size; i += STRETCH) whole += stretch_sum(shares, i, size);
    const int32_t place = place_of(shares, size, chance * whole);
    if (shares[place] > (1.0 - top_p) * whole) return place; /* the others cannot reach it alone */
    for (int32_t i = 0; i < size; i++) likelier += shares[i] > shares[place] ? shares[i] : 0.0f;
    return likelier >= top_p * whole ? OUTSIDE : place;
}

/* What was heard, for recall.py ----------------------------------------------------------------- */

/* agree[p]: how many tokens up to p, `longest` at most, agree with the latest ones; now that `token`
 * has come, for the places from `first` to before `last`. */
void hear(const int16_t *restrict tokens, uint8_t *restrict agree, int32_t first, int32_t last, int32_t token,
          int32_t longest) {
    const int16_t now = (int16_t)token;
    const uint8_t most = (uint8_t)(longest - 1);
    __builtin_memmove(agree + first, agree + first - 1, (size_t)(last - first));
    for (int32_t place = first; place < last; place++) {
        uint8_t before = agree[place] < most ? agree[place] : most;
        agree[place] = tokens[place] == now ? before + 1 : 0;
    }
}

/* The votes of so many places: of each the weight of its agreement for the token that follows, as a
 * share of all. `ballot` is zero for every token, before and after. Returns how many tokens have votes;
 * they lie in `voted`, the lowest first. */
int32_t count_votes(const int16_t *tokens, const uint8_t *agree, int32_t places,
                    const double *weights, const double *odds, double *ballot, int64_t *voted,
                    double *gained) {
    int32_t found = 0, longest = 0;
    double total = 0.0;
    for (int32_t place = 0; place < places; place++) {
        const int32_t length = agree[place], token = tokens[place + 1];
        if (!length || token < 0) continue; /* nobody knows what followed there */
        if (ballot[token] == 0.0) {
            int32_t at = found++;
            for (; at > 0 && voted[at - 1] > token; at--) voted[at] = voted[at - 1];
            voted[at] = token;
        }
        ballot[token] += weights[length];
        total += weights[length];
        longest = length > longest ? length : longest;
    }
    for (int32_t i = 0; i < found; i++) {
        gained[i] = ballot[voted[i]] * (odds[longest] / total);
        ballot[voted[i]] = 0.0;
    }
    return found;
}
