/* Sample a token from the logits of the permitted ones.
 *
 * Settings apply in this order: temperatures, epsilon cut-off and min-p, top-k, top-p. The reference
 * is reference/sampling.py.
 */
#include "sampling.h"

#include "arithmetic.h"
#include "token_table.h"

#include <float.h>

static const float LEAST_EXPONENT = -30.0f; /* a weight below exp of it counts as 0 */
static const float LEAST_TEMPERATURE = 1e-6f;

typedef enum { ANY_KIND, PITCH_KIND, RHYTHM_KIND } TemperatureKind;

/* The permitted tokens. Weights are unnormalized probabilities. */
typedef struct {
    int32_t count;
    int16_t ids[MAX_VOCAB];
    float logits[MAX_VOCAB], weights[MAX_VOCAB], sorted[MAX_VOCAB];
} Choices;

/* Settings -------------------------------------------------------------------------------------- */

int32_t sampling_is_valid(const SamplingSettings *settings) {
    const float most = 1e4f;
    return settings->temperature >= 0 && settings->temperature <= most
        && settings->pitch_temperature <= most && settings->rhythm_temperature <= most
        && settings->top_p > 0 && settings->top_p <= 1 && settings->min_p >= 0
        && settings->min_p <= 1 && settings->epsilon_cutoff >= 0 && settings->epsilon_cutoff <= 1
        && settings->log_penalty >= 0 && settings->log_penalty <= most && settings->top_k >= 0
        && settings->copy_weight >= -most && settings->copy_weight <= most
        && within(settings->repetition_bars, 1, MAX_REPETITION_BARS);
}

/* Random numbers --------------------------------------------------------------------------------- */

static uint32_t multiply_high(uint32_t a, uint32_t b, uint32_t *low) {
    const uint64_t product = (uint64_t)a * b;
    *low = (uint32_t)product;
    return (uint32_t)(product >> 32);
}

double random_uniform(RandomState *random) {
    uint32_t x[4] = {random->draws++, random->candidate, 0, 0}, key[2] = {random->seed, random->bar};
    for (int round = 0; round < 10; round++) {
        uint32_t low0, low2;
        const uint32_t high0 = multiply_high(0xD2511F53u, x[0], &low0);
        const uint32_t high2 = multiply_high(0xCD9E8D57u, x[2], &low2);
        x[0] = high2 ^ x[1] ^ key[0], x[1] = low2;
        x[2] = high0 ^ x[3] ^ key[1], x[3] = low0;
        key[0] += 0x9E3779B9u, key[1] += 0xBB67AE85u;
    }
    return ((x[0] >> 5) * 67108864.0 + (x[1] >> 6)) / 9007199254740992.0;
}

/* Choices ---------------------------------------------------------------------------------------- */

/* Infinite logits and NaN count as the largest number. */
static void collect(Choices *c, const TokenTable *table, const float *logits,
                    const uint8_t *permitted) {
    c->count = 0;
    for (int32_t i = 0; i < table->size; i++) {
        if (permitted && !permitted[i]) continue;
        c->logits[c->count] = logits[i] < FLT_MAX ? logits[i] : FLT_MAX;
        c->ids[c->count++] = (int16_t)i;
    }
}

static TemperatureKind kind_of(const TokenTable *table, int32_t id) {
    switch (table->kind[id]) {
    case PROGRAM:
    case PITCH:
    case DRUM: return PITCH_KIND;
    case POSITION:
    case DURATION:
    case BAR:
    case TIME_SIGNATURE:
    case TEMPO: return RHYTHM_KIND;
    default: return ANY_KIND;
    }
}

static int32_t highest(const float *x, int32_t count) {
    int32_t best = 0;
    for (int32_t i = 1; i < count; i++) best = x[i] > x[best] ? i : best;
    return best;
}

static double sum_in_order(const float *x, int32_t count) {
    double sum = 0.0;
    for (int32_t i = 0; i < count; i++) sum += x[i];
    return sum;
}

static float log_of_sum(const Choices *c) {
    const float largest = c->logits[highest(c->logits, c->count)];
    double sum = 0.0;
    for (int32_t i = 0; i < c->count; i++) sum += exponential(c->logits[i] - largest);
    return largest + natural_log((float)sum);
}

float token_log_prob(const TokenTable *table, const float *logits, int32_t token) {
    Choices c;
    collect(&c, table, logits, NULL);
    const float total = log_of_sum(&c);
    return c.logits[token] < total ? c.logits[token] - total : 0.0f;
}

/* Temperatures ----------------------------------------------------------------------------------- */

/* Weights of `count` logits; at temperature 0 the first of the highest gets all. */
static void weigh(const float *logits, int32_t count, float temperature, float *weights) {
    const int32_t best = highest(logits, count);
    const float inverse =
        1.0f / (temperature > LEAST_TEMPERATURE ? temperature : LEAST_TEMPERATURE);
    for (int32_t i = 0; i < count; i++) {
        const float exponent = (logits[i] - logits[best]) * inverse;
        weights[i] = exponent > LEAST_EXPONENT && temperature > 0 ? exponential(exponent) : 0.0f;
    }
    if (temperature <= 0) weights[best] = 1.0f;
}

/* Distributes the weight of one kind of tokens by its own temperature. */
static void weigh_kind(Choices *c, const TokenTable *table, TemperatureKind kind,
                       float temperature) {
    float logits[MAX_VOCAB], weights[MAX_VOCAB];
    int32_t members[MAX_VOCAB], count = 0;
    double all = 0.0;
    if (temperature < 0) return;
    for (int32_t i = 0; i < c->count; i++) {
        if (kind_of(table, c->ids[i]) != kind) continue;
        all += c->weights[i];
        logits[count] = c->logits[i], members[count++] = i;
    }
    if (!count || all == 0) return;
    weigh(logits, count, temperature, weights);
    const double scale = all / sum_in_order(weights, count);
    for (int32_t i = 0; i < count; i++) c->weights[members[i]] = (float)(weights[i] * scale);
}

/* Limits ----------------------------------------------------------------------------------------- */

static void sort_descending(float *x, int32_t count) {
    static const int32_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1}; /* Ciura 2001 */
    for (int g = 0; g < 8; g++)
        for (int32_t gap = gaps[g], i = gap; i < count; i++) {
            const float each = x[i];
            int32_t at = i;
            for (; at >= gap && x[at - gap] < each; at -= gap) x[at] = x[at - gap];
            x[at] = each;
        }
}

static void keep_at_least(Choices *c, float threshold) {
    for (int32_t i = 0; i < c->count; i++)
        if (c->weights[i] < threshold) c->weights[i] = 0.0f;
}

/* Sorts the weights; returns how many are not 0. */
static int32_t sort_weights(Choices *c) {
    int32_t count = 0;
    for (int32_t i = 0; i < c->count; i++)
        if (c->weights[i] > 0) c->sorted[count++] = c->weights[i];
    sort_descending(c->sorted, count);
    return count;
}

/* The smallest weight among the most probable tokens that together reach top_p. */
static float nucleus_threshold(Choices *c, float top_p) {
    const int32_t count = sort_weights(c);
    const double target = top_p * sum_in_order(c->sorted, count);
    double sum = 0.0;
    for (int32_t i = 0; i < count; i++)
        if ((sum += c->sorted[i]) >= target) return c->sorted[i];
    return c->sorted[count - 1]; /* rounding went past the end */
}

/* Weights after temperatures, cut-offs and top-k; returns 0 if there is no token. */
static int32_t weigh_choices(Choices *c, const SamplingSettings *settings,
                             const TokenTable *table) {
    if (!c->count) return 0;
    const float best = c->logits[highest(c->logits, c->count)];
    if (best - best != 0) return 0; /* minus infinity */
    weigh(c->logits, c->count, settings->temperature, c->weights);
    weigh_kind(c, table, PITCH_KIND, settings->pitch_temperature);
    weigh_kind(c, table, RHYTHM_KIND, settings->rhythm_temperature);
    if (settings->epsilon_cutoff > 0 || settings->min_p > 0) {
        const float largest = c->weights[highest(c->weights, c->count)];
        const float epsilon =
            (float)(settings->epsilon_cutoff * sum_in_order(c->weights, c->count));
        const float relative = settings->min_p * largest;
        const float threshold = epsilon > relative ? epsilon : relative;
        keep_at_least(c, threshold < largest ? threshold : largest);
    }
    if (settings->top_k > 0 && sort_weights(c) > settings->top_k)
        keep_at_least(c, c->sorted[settings->top_k - 1]);
    return 1;
}

int32_t sampling_probabilities(const SamplingSettings *settings, const TokenTable *table,
                               const float *logits, const uint8_t *permitted,
                               float *probabilities) {
    Choices c;
    if (!sampling_is_valid(settings)) return CORE_BAD_RULES;
    collect(&c, table, logits, permitted);
    if (!weigh_choices(&c, settings, table)) return CORE_NO_TOKEN;
    if (settings->top_p < 1) keep_at_least(&c, nucleus_threshold(&c, settings->top_p));
    const double total = sum_in_order(c.weights, c.count);
    for (int32_t i = 0; i < table->size; i++) probabilities[i] = 0.0f;
    for (int32_t i = 0; i < c.count; i++)
        probabilities[c.ids[i]] = (float)(c.weights[i] / total);
    return CORE_OK;
}

/* The first choice at which the cumulative weight exceeds a random share of the total. */
static int32_t draw(const Choices *c, double total, RandomState *random) {
    const double target = random_uniform(random) * total;
    double sum = 0.0;
    int32_t last = 0;
    for (int32_t i = 0; i < c->count; i++) {
        if (c->weights[i] == 0) continue;
        if ((sum += c->weights[i]) > target) return i;
        last = i;
    }
    return last; /* rounding went past the end */
}

static int32_t is_outside_nucleus(const Choices *c, int32_t index, float top_p, double total) {
    double above = 0.0;
    if (c->weights[index] > (1.0 - top_p) * total) return 0; /* the others cannot reach top_p */
    for (int32_t i = 0; i < c->count; i++)
        if (c->weights[i] > c->weights[index]) above += c->weights[i];
    return above >= top_p * total;
}

int32_t sample_token(const SamplingSettings *settings, const TokenTable *table,
                     const float *logits, const uint8_t *permitted, const LogitChange *changes,
                     int32_t count, RandomState *random, float *log_prob) {
    Choices c;
    if (!sampling_is_valid(settings)) return CORE_BAD_RULES;
    collect(&c, table, logits, permitted);
    if (!c.count) return CORE_NO_TOKEN;
    const float total = log_of_sum(&c);
    for (int32_t change = 0; change < count; change++)
        for (int32_t i = 0; i < c.count; i++)
            if (c.ids[i] == changes[change].token) c.logits[i] += changes[change].amount;
    if (!weigh_choices(&c, settings, table)) return CORE_NO_TOKEN;
    const double weight = sum_in_order(c.weights, c.count);
    int32_t index = draw(&c, weight, random);
    /* Drawing again within the nucleus gives its distribution, mostly without sorting. */
    if (settings->top_p < 1 && is_outside_nucleus(&c, index, settings->top_p, weight)) {
        keep_at_least(&c, nucleus_threshold(&c, settings->top_p));
        index = draw(&c, sum_in_order(c.weights, c.count), random);
    }
    const float logit = logits[c.ids[index]] < FLT_MAX ? logits[c.ids[index]] : FLT_MAX;
    *log_prob = logit < total ? logit - total : 0.0f;
    return c.ids[index];
}
