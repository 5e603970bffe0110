/* One step of the network of modeling_musiclstm.py for several rows, with int8 weights.
 *
 * A step reads every weight once and uses it for each row. The large matrices are int8, in the order
 * in which they are read (step.py writes them). Vectors are quantized to -127..127 with one scale,
 * products are exact integers, everything else is float32. The projections of the candidates are
 * tables over the vocabulary, so a candidate costs one vector addition. The results of a row do not
 * depend on the other rows, bit for bit.
 *
 * No memory is allocated and nothing is static. A workspace belongs to one caller at a time.
 */
#include "step.h"

#include <stddef.h>

#include "arithmetic.h"
#include "products.h"

static const float TINY = 1e-36f; /* the largest magnitude of a vector that counts as zero */

/* Returns 0 if the products are correct on this machine. */
int32_t self_check(void) {
    int8_t w[2 * BLOCK], values[2 * COLUMNS];
    const QuantizedVector x = {values, 1.0f};
    int32_t found[4], sums[4] = {0}, wrong = 0;
    for (int i = 0; i < 2 * BLOCK; i++)
        w[i] = (int8_t)(i % 3 ? MAX_WEIGHT - i % 5 : i % 7 - MAX_WEIGHT);
    for (int i = 0; i < 2 * COLUMNS; i++)
        values[i] = (int8_t)(i % 4 ? 127 - i % 2 : i % 3 - 127);
    for (int i = 0; i < 2 * BLOCK; i++) sums[i % BLOCK / COLUMNS] += w[i];
    dot_four_rows(w, &x, 2, sums, 0, found);
    for (int row = 0; row < 4; row++)
        for (int i = 0; i < 2 * COLUMNS; i++)
            found[row] -= w[i / COLUMNS * BLOCK + row * COLUMNS + i % COLUMNS] * values[i];
    for (int row = 0; row < 4; row++) wrong |= found[row];
    return wrong != 0;
}

/* Working memory ------------------------------------------------------------------------------- */

typedef struct {
    QuantizedVector *input, *hidden; /* (rows) */
    int32_t *sums;           /* (rows, 2, 4 gates, units) */
    float *gates;            /* (4, units) */
    float *normed;           /* (size) */
    float *context;          /* (CONTEXT_ROWS) */
} StepWorkspace;

/* Blocks of a row, an even number. */
static int32_t whole_blocks(int32_t size) { return (size + 2 * COLUMNS - 1) / (2 * COLUMNS) * 2; }

static int32_t pad4(int32_t size) { return (size + 3) / 4 * 4; }

int64_t workspace_bytes(const Network *net, int32_t rows) {
    int64_t columns = (int64_t)whole_blocks(net->size) * COLUMNS, units = pad4(net->size);
    return rows * (2 * (int64_t)sizeof(QuantizedVector) + 2 * columns + 32 * units) + 16 * units
         + 4 * ((int64_t)net->size + CONTEXT_ROWS);
}

/* The memory must be zero at first; columns beyond `size` stay zero. */
static StepWorkspace carve_workspace(const Network *net, int32_t rows, char *at) {
    int64_t columns = (int64_t)whole_blocks(net->size) * COLUMNS, units = pad4(net->size);
    StepWorkspace work;
    work.input = (QuantizedVector *)at, at += rows * sizeof(QuantizedVector);
    work.hidden = (QuantizedVector *)at, at += rows * sizeof(QuantizedVector);
    work.sums = (int32_t *)at, at += rows * 32 * units;
    work.gates = (float *)at, at += 16 * units;
    work.normed = (float *)at, at += 4 * (int64_t)net->size;
    work.context = (float *)at, at += 4 * CONTEXT_ROWS;
    for (int32_t row = 0; row < 2 * rows; row++) /* `hidden` follows `input` */
        work.input[row].values = (int8_t *)at, at += columns;
    return work;
}

/* Vectors -------------------------------------------------------------------------------------- */

static void normalize(const float *x, const float *norm, int32_t size, float epsilon, float *out) {
    float mean = sum_of(x, size) / size;
    for (int32_t i = 0; i < size; i++) out[i] = (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / __builtin_sqrtf(sum_of(out, size) / size + epsilon);
    for (int32_t i = 0; i < size; i++) out[i] = (x[i] - mean) * scale * norm[i] + norm[size + i];
}

static void quantize(const float *restrict x, int32_t size, QuantizedVector *out) {
    int8_t *restrict values = out->values;
    FloatBits largest = {0}; /* floats without a sign have the order of their bits */
    for (int32_t i = 0; i < size; i++) {
        FloatBits each = {0};
        each.value = x[i];
        int32_t magnitude = each.bits & 0x7fffffff;
        largest.bits = magnitude > largest.bits ? magnitude : largest.bits;
    }
    float units = largest.value > TINY ? 127.0f / largest.value : 0.0f;
    for (int32_t i = 0; i < size; i++) {
        float scaled = x[i] * units;
        values[i] = (int8_t)(int32_t)(scaled + (scaled < 0 ? -0.5f : 0.5f));
    }
    out->scale = largest.value > TINY ? largest.value / 127.0f : 0.0f;
}

static void add_row(const float *table, int32_t row, int32_t size, float *restrict x) {
    const float *restrict added = table + (size_t)row * size;
    for (int32_t i = 0; i < size; i++) x[i] += added[i];
}

/* Input ---------------------------------------------------------------------------------------- */

static void add_part(const float *table, int32_t rows, int32_t row, int32_t size, float *x) {
    if (row < rows) add_row(table, row, size, x);
}

static void add_features(const Network *net, const FeatureOutputs *features, float *x) {
    const uint8_t *parts = features->parts;
    add_part(net->program, net->programs, parts[0], net->size, x);
    add_part(net->track, net->tracks, parts[1], net->size, x);
    add_part(net->following, net->programs, parts[2], net->size, x);
    add_part(net->age, net->ages, parts[3], net->size, x);
    for (int32_t c = 0; c < CANDIDATES; c++) {
        const int32_t token = features->candidates[c];
        if (token >= 0 && token < net->vocab)
            add_row(net->candidate_inputs, c * net->vocab + token, net->size, x);
    }
}

/* Stack of LSTM layers ------------------------------------------------------------------------- */

/* All products of a layer, in the order of the weights in memory. */
static void multiply_layer(const Network *net, int32_t layer, int32_t rows, const StepWorkspace *work) {
    const int32_t blocks = whole_blocks(net->size), units = pad4(net->size);
    const int8_t *w = net->weights + (size_t)layer * 4 * units * 2 * blocks * COLUMNS;
    const int32_t *w_sums = net->weight_sums + (size_t)layer * 4 * units * 2;
    for (int32_t unit = 0; unit < units; unit += 4) {
        for (int32_t gate = 0; gate < 4; gate++, w += 2 * blocks * BLOCK, w_sums += 8) {
            for (int32_t row = 0; row < rows; row++) {
                int32_t *sums = work->sums + (size_t)row * 8 * units + gate * units + unit;
                dot_four_rows(w, work->input + row, blocks, w_sums, !row, sums);
                dot_four_rows(w + blocks * BLOCK, work->hidden + row, blocks, w_sums + 4, !row,
                              sums + 4 * units);
            }
        }
    }
}

static void dequantize_gates(const Network *net, int32_t layer, int32_t row, const StepWorkspace *work) {
    const int32_t count = 4 * pad4(net->size);
    const int32_t *restrict of_x = work->sums + (size_t)row * 2 * count, *of_h = of_x + count;
    const float *scale_x = net->scales + (size_t)layer * 2 * count, *scale_h = scale_x + count;
    const float *bias = net->biases + (size_t)layer * count;
    const float x = work->input[row].scale, h = work->hidden[row].scale;
    float *restrict gates = work->gates;
    for (int32_t i = 0; i < count; i++)
        gates[i] = of_x[i] * (x * scale_x[i]) + of_h[i] * (h * scale_h[i]) + bias[i];
}

/* gates: (4, units) in the order input, forget, cell, output; residual: 1 or 0 */
static void lstm_cell(const float *restrict gates, int32_t size, int32_t units, float residual,
                        float *restrict hidden, float *restrict cell, float *restrict x) {
    for (int32_t i = 0; i < size; i++) {
        float input = sigmoid(gates[i]), forget = sigmoid(gates[units + i]);
        float fresh = hyperbolic_tangent(gates[2 * units + i]);
        float output = sigmoid(gates[3 * units + i]);
        cell[i] = forget * cell[i] + input * fresh;
        hidden[i] = output * hyperbolic_tangent(cell[i]);
        x[i] = residual * x[i] + hidden[i];
    }
}

static void run_layer(const Network *net, int32_t layer, int32_t rows, const NetworkRow *row,
                      const StepWorkspace *work) {
    const int32_t size = net->size;
    const size_t at = (size_t)layer * size;
    for (int32_t r = 0; r < rows; r++) {
        const float *input = row[r].output;
        if (net->layer_norm) {
            normalize(input, net->norms + 2 * at, size, net->epsilon, work->normed);
            input = work->normed;
        }
        quantize(input, size, work->input + r);
        quantize(row[r].hidden + at, size, work->hidden + r);
    }
    multiply_layer(net, layer, rows, work);
    for (int32_t r = 0; r < rows; r++) {
        dequantize_gates(net, layer, r, work);
        lstm_cell(work->gates, size, pad4(size), (float)net->residual, row[r].hidden + at,
                  row[r].cell + at, row[r].output);
    }
}

void network_read(const Network *net, int32_t rows, const NetworkRow *row, char *workspace) {
    const int32_t size = net->size;
    const StepWorkspace work = carve_workspace(net, rows, workspace);
    for (int32_t r = 0; r < rows; r++) {
        const float *embedding = net->embeddings + (size_t)row[r].token * size;
        for (int32_t i = 0; i < size; i++) row[r].output[i] = embedding[i];
        if (net->has_features) add_features(net, &row[r].features, row[r].output);
    }
    for (int32_t layer = 0; layer < net->layers; layer++) run_layer(net, layer, rows, row, &work);
    for (int32_t r = 0; net->layer_norm && r < rows; r++) {
        const float *norm = net->norms + (size_t)net->layers * 2 * size;
        normalize(row[r].output, norm, size, net->epsilon, work.normed);
        for (int32_t i = 0; i < size; i++) row[r].output[i] = work.normed[i];
    }
}

/* Output --------------------------------------------------------------------------------------- */

static void score_all_tokens(const Network *net, int32_t rows, const NetworkRow *row,
                             const StepWorkspace *work) {
    const int32_t blocks = whole_blocks(net->size);
    for (int32_t token = 0; token < net->vocab; token += 4) {
        const int8_t *weights = net->head + (size_t)token * blocks * COLUMNS;
        for (int32_t r = 0; r < rows; r++) {
            const QuantizedVector *output = work->input + r;
            int32_t sums[4];
            dot_four_rows(weights, output, blocks, net->head_sums + token, !r, sums);
            for (int i = 0; i < 4; i++)
                row[r].logits[token + i] =
                    sums[i] * (output->scale * net->head_scales[token + i])
                    + net->head_bias[token + i];
        }
    }
}

/* Adds the gate of each candidate to the logit of its token. */
static void add_copies(const Network *net, const FeatureOutputs *features, float weight,
                       const float *output, float *logits) {
    float inputs[3 * CANDIDATES];
    for (int32_t c = 0; c < CANDIDATES; c++) {
        const float present = features->candidates[c] >= 0;
        inputs[c] = natural_log(1.0f + features->runs[c]);
        inputs[CANDIDATES + c] = present;
        inputs[2 * CANDIDATES + c] =
            present * (3.0f * (features->accuracy[c] / 255.0f) - 1.5f);
    }
    for (int32_t c = 0; c < CANDIDATES; c++) {
        const int32_t token = features->candidates[c];
        if (token < 0 || token >= net->vocab) continue;
        const float *gate = net->gates + (size_t)c * (net->size + 3 * CANDIDATES);
        float sum = dot_product(gate, output, net->size) + net->gate_bias[c];
        sum += dot_product(gate + net->size, inputs, 3 * CANDIDATES);
        logits[token] += weight * sum;
    }
}

/* Rows `from` to before `to` of the context head, both multiples of four. */
static void run_context_head(const Network *net, int32_t from, int32_t to, const QuantizedVector *output,
                             float *context) {
    const int32_t blocks = whole_blocks(net->size);
    for (int32_t at = from; at < to; at += 4) {
        int32_t sums[4];
        dot_four_rows(net->context + (size_t)at * blocks * COLUMNS, output, blocks,
                      net->context_sums + at, 1, sums);
        for (int i = 0; i < 4; i++)
            context[at + i] = sums[i] * (output->scale * net->context_scales[at + i])
                            + net->context_bias[at + i];
    }
}

/* terms[reference + d] += scores[d + backward] for the differences d from -backward to forward */
static void add_shifted(const float *scores, int32_t reference, int32_t backward, int32_t forward,
                        int32_t values, float *terms) {
    int32_t first = reference - backward, last = reference + forward;
    first = first > 0 ? first : 0;
    last = last < values ? last : values - 1;
    for (int32_t value = first; value <= last; value++)
        terms[value] += scores[value - reference + backward];
}

/* out[p] += sum over q of source[q] * filter[(p - q) mod 12] */
static void add_filtered(const float *source, const float *filter, float *out) {
    float twice[2 * CLASSES]; /* makes the modulus unnecessary */
    for (int32_t i = 0; i < 2 * CLASSES; i++) twice[i] = filter[i % CLASSES];
    for (int32_t q = 0; q < CLASSES; q++)
        for (int32_t p = 0; p < CLASSES; p++) out[p] += source[q] * twice[CLASSES + p - q];
}

static void add_histogram(const float *histogram, float weight, const float *filter, float *out) {
    const float total = sum_of(histogram, CLASSES);
    float share[CLASSES];
    for (int32_t q = 0; q < CLASSES; q++) {
        share[q] = total > 0.0f ? histogram[q] / total : 0.0f;
        out[q] += weight * (natural_log(histogram[q] + 1e-2f) + 4.6f);
    }
    add_filtered(share, filter, out);
}

/* Terms of the twelve pitch classes. */
static void score_classes(const FeatureOutputs *features, const float *context, float *classes) {
    const float *weights = context + HISTOGRAM_AT, *filters = context + FILTERS_AT;
    float sounding[CLASSES];
    for (int32_t q = 0; q < CLASSES; q++) {
        classes[q] = 0.0f;
        sounding[q] = (float)(features->sounding[0] >> q & 1);
    }
    add_histogram(features->recent, weights[1], filters, classes);
    add_histogram(features->piece, weights[2], filters + CLASSES, classes);
    if (features->sounding[0]) add_filtered(sounding, filters + 2 * CLASSES, classes);
}

/* counts: of cases with more, and with as many; see Sizes in step_features.py. */
static float log_odds(const int16_t *counts) {
    return natural_log(counts[0] + 25.0f) - natural_log(counts[1] + 25.0f);
}

static void add_pitches(const Network *net, const FeatureOutputs *features,
                        const QuantizedVector *output, float *context, float *logits) {
    float terms[PITCHES] = {0}, classes[CLASSES];
    run_context_head(net, HISTOGRAM_AT, PITCH_ROWS, output, context);
    for (int32_t r = 0; r < REFERENCE_PITCHES; r++) {
        const int32_t reference = features->pitches[r];
        const int32_t at = r * RELATIVE_PITCH_ROWS;
        if (reference < 0) continue;
        run_context_head(net, at, at + RELATIVE_PITCH_ROWS, output, context);
        add_shifted(context + at, reference, PITCH_REACH, PITCH_REACH, PITCHES, terms);
    }
    const float *part = features->part, weight = context[HISTOGRAM_AT];
    for (int32_t p = 0; p < PITCHES; p++)
        terms[p] += weight * (natural_log(part[p] + 1e-3f) + 6.9f);
    score_classes(features, context, classes);
    const float more = context[HISTOGRAM_AT + 3] * log_odds(features->sizes);
    for (int32_t i = 0; i < net->pitches; i++) {
        const int32_t p = net->pitch_values[i];
        logits[net->pitch_tokens[i]] += terms[p] + classes[p % CLASSES] + more;
    }
}

/* Adds the weighted logarithm of a histogram to the logits of tokens. */
static void add_rhythm(const float *histogram, float weight, int32_t count, const int32_t *tokens,
                       const int32_t *values, float *logits) {
    float terms[RHYTHM_STEPS];
    for (int32_t i = 0; i < RHYTHM_STEPS; i++)
        terms[i] = weight * (natural_log(histogram[i] + 1e-3f) + 6.9f);
    for (int32_t i = 0; i < count; i++)
        logits[tokens[i]] += terms[values[i] < RHYTHM_STEPS ? values[i] : RHYTHM_STEPS - 1];
}

static void add_positions(const Network *net, const FeatureOutputs *features,
                          const QuantizedVector *output, float *context, float *logits) {
    const int32_t onset = features->positions[0], end = features->positions[1];
    float terms[POSITION_LIMIT] = {0};
    if (onset >= 0) {
        run_context_head(net, FORWARD_AT, AROUND_AT, output, context);
        add_shifted(context + FORWARD_AT, onset, 0, POSITION_REACH, net->position_limit, terms);
    }
    if (end >= 0) {
        run_context_head(net, AROUND_AT, RHYTHM_AT, output, context);
        add_shifted(context + AROUND_AT, end, POSITION_REACH, POSITION_REACH, net->position_limit,
                    terms);
    }
    run_context_head(net, RHYTHM_AT, CONTEXT_ROWS, output, context);
    const float more = context[RHYTHM_AT + 2] * log_odds(features->sizes + 2);
    for (int32_t i = 0; i < net->positions; i++)
        logits[net->position_tokens[i]] += terms[net->position_values[i]] + more;
    add_rhythm(features->onsets, context[RHYTHM_AT], net->positions,
               net->position_tokens, net->position_values, logits);
}

static void add_durations(const Network *net, const FeatureOutputs *features,
                          const QuantizedVector *output, float *context, float *logits) {
    run_context_head(net, RHYTHM_AT, CONTEXT_ROWS, output, context);
    add_rhythm(features->durations, context[RHYTHM_AT + 1],
               net->durations, net->duration_tokens, net->duration_values, logits);
}

void network_score(const Network *net, int32_t rows, const NetworkRow *row, char *workspace) {
    const StepWorkspace work = carve_workspace(net, rows, workspace);
    for (int32_t r = 0; r < rows; r++) quantize(row[r].output, net->size, work.input + r);
    score_all_tokens(net, rows, row, &work);
    for (int32_t r = 0; net->has_features && r < rows; r++) {
        const FeatureOutputs *features = &row[r].features;
        const QuantizedVector *output = work.input + r;
        float *logits = row[r].logits;
        add_copies(net, features, row[r].copy_weight, row[r].output, logits);
        if (features->follows[0] & 1) add_pitches(net, features, output, work.context, logits);
        if (features->follows[0] & 2) add_positions(net, features, output, work.context, logits);
        if (features->follows[0] & 4) add_durations(net, features, output, work.context, logits);
    }
}
