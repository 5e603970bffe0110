/* libFuzzer driver of fuzz_core.py: calls every function of core.h with arbitrary numbers.
 *
 * Each block of memory has exactly the size that core.h states, so AddressSanitizer reports any
 * access beyond it. What the header calls the caller's duty holds: sizes of arrays, weights and
 * pointers. Everything else is arbitrary.
 */
#include "core.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Input ------------------------------------------------------------------------------------------ */

typedef struct {
    const uint8_t *at, *end;
} Input;

/* Little-endian; 0 after the end. */
static uint64_t take(Input *in, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes && in->at < in->end; i++) value |= (uint64_t)*in->at++ << 8 * i;
    return value;
}

static uint32_t below(Input *in, uint32_t limit) {
    return (uint32_t)take(in, limit > 256 ? 2 : 1) % limit;
}

/* Mostly from low to high, sometimes any number. */
static int32_t number(Input *in, int32_t low, int32_t high) {
    const uint8_t choice = (uint8_t)take(in, 1);
    if (choice == 255 || high < low) return (int32_t)take(in, 4);
    if (choice == 254) return low - 1;
    if (choice == 253) return high + 1;
    const uint32_t range = (uint32_t)(high - low) + 1;
    return low + (int32_t)((range > 250 ? (uint32_t)take(in, 2) + choice : choice) % range);
}

static float real(Input *in) {
    const uint8_t choice = (uint8_t)take(in, 1);
    float value;
    const uint32_t bits = (uint32_t)take(in, choice > 240 ? 4 : 0);
    if (choice <= 240) return (float)choice / 60.0f - 1.0f;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float share(Input *in) { return (float)take(in, 1) / 255.0f; }

static bool one_in(Input *in, uint32_t count) { return below(in, count) == 1; }

/* Exactly so many bytes; the contents are zero. */
static void *memory(int64_t bytes) {
    void *found = calloc(1, bytes > 0 ? (size_t)bytes : 0);
    if (!found && bytes > 0) abort();
    return found;
}

static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "broken guarantee: %s\n", what);
    abort();
}

static int32_t *read_ids(Input *in, int32_t vocab, int32_t count) {
    int32_t *ids = memory(4 * (int64_t)count);
    for (int32_t i = 0; i < count; i++)
        ids[i] = one_in(in, 200) ? (int32_t)take(in, 4) : (int32_t)below(in, (uint32_t)vocab);
    return ids;
}

/* Token tables ----------------------------------------------------------------------------------- */

enum { OTHER, BAR, TIME_SIGNATURE, TEMPO, PROGRAM, POSITION, PITCH, DRUM, DURATION };

enum { VOCAB = 682, METERS = 35, FIRST_METER = VOCAB - METERS, BOS = 1, EOS = 2, BAR_ID = 3 };

typedef struct {
    int32_t size, kind[MAX_VOCAB], value[MAX_VOCAB], unit[MAX_VOCAB];
} Vocabulary;

static void add_tokens(Vocabulary *v, int32_t kind, int32_t first, int32_t count) {
    for (int32_t i = 0; i < count; i++, v->size++)
        v->kind[v->size] = kind, v->value[v->size] = first + i;
}

static void add_meters(Vocabulary *v, int32_t unit, int32_t first, int32_t step, int32_t count) {
    for (int32_t i = 0; i < count; i++, v->size++) {
        v->kind[v->size] = TIME_SIGNATURE, v->unit[v->size] = unit;
        v->value[v->size] = 12 * unit * (first + i * step);
    }
}

/* The kinds and values of musiclstm/tokens/vocabulary.py, in its order. */
static Vocabulary usual_vocabulary(void) {
    Vocabulary v = {0};
    v.size = 3; /* PAD, BOS, EOS */
    add_tokens(&v, BAR, 0, 1);
    add_tokens(&v, PITCH, 0, 128);
    add_tokens(&v, DURATION, 1, 100);
    add_tokens(&v, POSITION, 0, 192);
    add_tokens(&v, DRUM, 27, 62);
    add_tokens(&v, TEMPO, 0, 32);
    add_tokens(&v, PROGRAM, 0, 128);
    add_tokens(&v, PROGRAM, -1, 1);
    add_meters(&v, 4, 1, 1, 12), add_meters(&v, 2, 1, 1, 16), add_meters(&v, 1, 3, 2, 7);
    require(v.size == VOCAB, "the vocabulary has 682 tokens");
    return v;
}

static void change_vocabulary(Input *in, Vocabulary *v) {
    if (one_in(in, 4)) v->size = number(in, 1, MAX_VOCAB);
    for (uint32_t changes = below(in, 16); changes; changes--) {
        const uint32_t i = below(in, MAX_VOCAB);
        v->kind[i] = number(in, OTHER, DURATION);
        v->value[i] = number(in, -1, 200), v->unit[i] = number(in, 0, 16);
    }
}

/* Returns NULL for a table that is refused. */
static TokenTable *read_table(Input *in, Vocabulary *v, bool changed) {
    *v = usual_vocabulary();
    if (changed) change_vocabulary(in, v);
    const int32_t eos = changed ? number(in, -1, v->size) : EOS;
    TokenTable *table = memory(token_table_bytes());
    const int32_t code = token_table_fill(table, v->size, v->kind, v->value, v->unit, eos);
    require(changed || code == CORE_OK, "the usual table is accepted");
    if (code == CORE_OK) return table;
    free(table);
    return NULL;
}

/* Features --------------------------------------------------------------------------------------- */

static void *optional(Input *in, int64_t bytes) { return one_in(in, 8) ? NULL : memory(bytes); }

static void fuzz_features(Input *in, const TokenTable *table, const Vocabulary *v) {
    const int64_t rows = below(in, 3), size = features_state_bytes();
    char *states = memory(rows * size);
    for (int64_t row = 0; row < rows; row++) features_begin((FeatureState *)(states + row * size));
    for (uint32_t reads = 1 + below(in, 3); reads; reads--) {
        const int64_t steps = below(in, 300), n = rows * steps;
        int64_t *ids = memory(8 * n), *lengths = optional(in, 8 * rows);
        uint8_t *reset = optional(in, rows);
        for (int64_t i = 0; i < n; i++)
            ids[i] = one_in(in, 250) ? (int64_t)take(in, 8) : below(in, (uint32_t)v->size);
        for (int64_t i = 0; lengths && i < rows; i++) lengths[i] = number(in, 0, (int32_t)steps);
        for (int64_t i = 0; reset && i < rows; i++) reset[i] = (uint8_t)take(in, 1);
        FeatureOutputs out = {
            optional(in, 12 * n), optional(in, 6 * n),  optional(in, 6 * n),  optional(in, 4 * n),
            optional(in, 5 * n),  optional(in, 4 * n),  optional(in, n),      optional(in, 2 * n),
            optional(in, 512 * n), optional(in, 48 * n), optional(in, 48 * n), optional(in, 768 * n),
            optional(in, 768 * n), optional(in, 8 * n),
        };
        features_read_rows((FeatureState *)states, table, ids, rows, steps, lengths, reset, &out);
        void *arrays[sizeof out / sizeof(void *)];
        memcpy(arrays, &out, sizeof out);
        for (size_t i = 0; i < sizeof out / sizeof(void *); i++) free(arrays[i]);
        free(ids), free(lengths), free(reset);
    }
    free(states);
}

/* Grammar ---------------------------------------------------------------------------------------- */

static void read_programs(Input *in, uint8_t *programs) {
    for (int32_t i = 0; i < PROGRAMS; i++) programs[i] = 0;
    for (uint32_t count = below(in, 6); count; count--) programs[below(in, PROGRAMS)] = 1;
}

/* Returns an error for rules that are refused. */
static int32_t read_rules(Input *in, const TokenTable *table, BarRules *rules) {
    uint8_t programs[PROGRAMS];
    read_programs(in, programs);
    const int32_t meter = one_in(in, 3) ? number(in, FIRST_METER, VOCAB - 1) : -1;
    const int32_t classes = one_in(in, 3) ? number(in, 0, 4095) : 0;
    const int32_t error =
        bar_rules_fill(rules, table, one_in(in, 3) ? programs : NULL, meter, classes);
    if (error) memset(rules, 0xff, sizeof *rules);
    if (one_in(in, 2)) rules->max_at_once = number(in, 1, 32);
    if (one_in(in, 2)) rules->max_polyphony = number(in, 0, 8);
    if (one_in(in, 2)) rules->fewest = number(in, 0, 40);
    if (one_in(in, 2)) rules->most = rules->fewest + number(in, 0, 20);
    if (one_in(in, 2)) rules->max_empty_bars = number(in, 0, 3);
    const uint32_t flags = (uint32_t)take(in, 1);
    rules->allows_tempos = flags & 1, rules->has_ending = flags >> 1 & 1;
    rules->closed = flags >> 2 & 1, rules->downbeat_only = flags >> 3 & 1;
    rules->off_beat = flags >> 4 & 1, rules->needs_pitched = flags >> 5 & 1;
    if (flags >> 6 & 1) rules->mode = number(in, 0, 4095);
    for (uint32_t changes = flags >> 7 ? below(in, 8) : 0; changes; changes--)
        rules->pitches[below(in, PROGRAMS)][below(in, 2)] = take(in, 8);
    if (one_in(in, 50)) rules->meters = take(in, 8);
    return error;
}

/* Returns a permitted token; -1 if there is none. */
static int32_t choose(Input *in, const uint8_t *permitted, int32_t vocab) {
    const uint32_t start = below(in, (uint32_t)vocab);
    for (uint32_t i = 0; i < (uint32_t)vocab; i++) {
        const uint32_t token = (start + i) % (uint32_t)vocab;
        if (permitted[token]) return (int32_t)token;
    }
    return -1;
}

static void read_prompt(Input *in, GrammarState *state, const TokenTable *table, int32_t vocab) {
    const int32_t count = (int32_t)below(in, 200);
    int32_t *ids = read_ids(in, vocab, count);
    grammar_read_prompt(state, table, ids, one_in(in, 50) ? -1 : count);
    free(ids);
}

/* A sequence of permitted tokens never reaches a dead end. */
/* By program: how many parts are kept, how many may follow, which of these must, and whether
 * these are lines. */
static void read_parts(Input *in, uint8_t parts[4][PROGRAMS]) {
    for (int32_t i = 0; i < PROGRAMS; i++)
        for (int32_t row = 0; row < 4; row++) parts[row][i] = 0;
    for (uint32_t i = below(in, 5); i; i--) {
        const uint32_t program = below(in, PROGRAMS);
        const uint32_t kept = below(in, program == PROGRAMS - 1 ? 2 : MAX_TRACKS + 1);
        const uint32_t all = program == PROGRAMS - 1 ? 1 : MAX_TRACKS;
        parts[0][program] = (uint8_t)kept, parts[1][program] = (uint8_t)below(in, all - kept + 1);
        parts[2][program] = (uint8_t)below(in, 256), parts[3][program] = one_in(in, 2);
        if (one_in(in, 50)) parts[1][program] = MAX_TRACKS;
    }
}

static void fuzz_permitted(Input *in, GrammarState *state, const TokenTable *table,
                           const Vocabulary *v) {
    uint8_t *permitted = memory(v->size);
    for (int32_t left = 3000; left && in->at < in->end; left--) {
        if (one_in(in, 30)) { /* refused within a note */
            uint8_t parts[4][PROGRAMS];
            read_parts(in, parts);
            grammar_limit_parts(state, parts[0], parts[1], parts[2], parts[3]);
        }
        grammar_permitted(state, table, permitted);
        int32_t token = choose(in, permitted, v->size);
        require(token >= 0, "a token is permitted");
        require(grammar_advance(state, table, &token, 1) == CORE_OK, "a permitted token is read");
        if (v->kind[token] == BAR || token == EOS) break;
    }
    free(permitted);
}

static void fuzz_grammar(Input *in, const TokenTable *table, const Vocabulary *v) {
    GrammarState *state = memory(grammar_state_bytes());
    BarRules rules;
    read_rules(in, table, &rules);
    int32_t code = grammar_begin(state, table, &rules);
    if (code == CORE_OK && one_in(in, 2)) read_prompt(in, state, table, v->size);
    for (uint32_t bars = 0; code == CORE_OK && bars < 6 && in->at < in->end; bars++) {
        uint8_t *permitted = memory(v->size);
        if (one_in(in, 3)) read_rules(in, table, &rules);
        code = grammar_open_bar(state, table, one_in(in, 3) ? NULL : &rules);
        if (code == CORE_OK) grammar_permitted(state, table, permitted);
        free(permitted);
        if (code == CORE_OK && one_in(in, 4)) {
            const int32_t count = (int32_t)below(in, 100);
            int32_t *ids = read_ids(in, v->size, count);
            code = grammar_advance(state, table, ids, one_in(in, 20) ? -1 : count);
            free(ids);
            uint8_t parts[4][PROGRAMS];
            read_parts(in, parts);
            if (one_in(in, 2)) grammar_limit_parts(state, parts[0], parts[1], parts[2], parts[3]);
            if (code == CORE_OK) continue; /* not permitted ones: there may be dead ends */
        }
        break;
    }
    free(state);
}

/* Only permitted tokens, in bars of the usual vocabulary. */
static void fuzz_bars(Input *in, const TokenTable *table, const Vocabulary *v) {
    GrammarState *state = memory(grammar_state_bytes());
    BarRules rules;
    read_rules(in, table, &rules);
    int32_t code = grammar_begin(state, table, &rules), bar = BAR_ID;
    if (code == CORE_OK && one_in(in, 2)) read_prompt(in, state, table, v->size);
    while (code == CORE_OK && in->at < in->end) {
        if (one_in(in, 4)) read_rules(in, table, &rules);
        code = grammar_open_bar(state, table, &rules);
        if (code != CORE_OK) break;
        require(grammar_advance(state, table, &bar, 1) == CORE_OK, "a bar is read");
        fuzz_permitted(in, state, table, v);
    }
    free(state);
}

/* Sampling --------------------------------------------------------------------------------------- */

static SamplingSettings read_sampling(Input *in) {
    SamplingSettings s = {0};
    s.temperature = real(in), s.pitch_temperature = real(in), s.rhythm_temperature = real(in);
    s.top_p = real(in), s.min_p = real(in), s.epsilon_cutoff = real(in);
    s.log_penalty = real(in), s.copy_weight = real(in);
    s.top_k = number(in, 0, 40), s.repetition_bars = number(in, 1, MAX_REPETITION_BARS);
    s.seed = (uint32_t)take(in, 4);
    return s;
}

/* Settings that Python accepts. */
static SamplingSettings checked_sampling(Input *in) {
    SamplingSettings s = read_sampling(in);
    s.temperature = 4.0f * share(in), s.pitch_temperature = 5.0f * share(in) - 1.0f;
    s.rhythm_temperature = 5.0f * share(in) - 1.0f, s.top_p = 1.0f - 0.999f * share(in);
    s.min_p = share(in), s.epsilon_cutoff = share(in), s.log_penalty = 4.0f * share(in);
    s.copy_weight = 2.0f * share(in);
    s.top_k = (int32_t)below(in, 40), s.repetition_bars = 1 + (int32_t)below(in, 64);
    return s;
}

static void fuzz_sampling(Input *in, const TokenTable *table, const Vocabulary *v) {
    const SamplingSettings settings = one_in(in, 4) ? read_sampling(in) : checked_sampling(in);
    RandomState random = {(uint32_t)take(in, 4), (uint32_t)take(in, 4), (uint32_t)take(in, 4), 0};
    float *logits = memory(4 * (int64_t)v->size), *found = memory(4 * (int64_t)v->size), log_prob;
    uint8_t *permitted = optional(in, v->size);
    LogitChange changes[4];
    const int32_t count = (int32_t)below(in, 5);
    const uint32_t values = 1 + below(in, 64);
    float chosen[64];
    for (uint32_t i = 0; i < values; i++) chosen[i] = real(in);
    for (int32_t i = 0; i < v->size; i++) logits[i] = chosen[(uint32_t)i * 7 % values];
    for (int32_t i = 0; permitted && i < v->size; i++) permitted[i] = i % (int32_t)values < 3;
    for (int32_t i = 0; i < count; i++)
        changes[i] = (LogitChange){number(in, 0, v->size - 1), real(in)};
    sampling_probabilities(&settings, table, logits, permitted, found);
    const int32_t token =
        sample_token(&settings, table, logits, permitted, changes, count, &random, &log_prob);
    require(token < v->size, "a token of the vocabulary is sampled");
    if (token >= 0 && permitted) require(permitted[token], "a permitted token is sampled");
    free(logits), free(found), free(permitted);
}

/* Bars in their context ---------------------------------------------------------------------------- */

static void fuzz_bar_features(Input *in, const TokenTable *table, const Vocabulary *v) {
    BarContext *context = memory(bar_context_bytes());
    static BarScoreModel model;
    float features[BAR_FEATURES];
    for (int32_t i = 0; i < BAR_FEATURES; i++) {
        model.weights[i] = real(in);
        model.edges[i][below(in, FEATURE_BINS - 1)] = real(in);
        model.log_odds[i][below(in, FEATURE_BINS)] = real(in);
    }
    int32_t count = (int32_t)below(in, 400);
    int32_t *ids = read_ids(in, v->size, count);
    const int32_t code = bar_context_begin(context, table, ids, one_in(in, 50) ? -1 : count);
    free(ids);
    for (uint32_t bars = below(in, 40); bars && code == CORE_OK; bars--) {
        count = (int32_t)below(in, 100);
        ids = read_ids(in, v->size, count);
        float *log_probs = memory(4 * (int64_t)count);
        if (bar_context_features(context, table, ids, count, log_probs, features) == CORE_OK)
            bar_score(&model, features);
        bar_context_add(context, table, ids, one_in(in, 50) ? -1 : count);
        free(ids), free(log_probs);
    }
    free(context);
}

/* Sequences -------------------------------------------------------------------------------------- */

enum { SIZE = 20, UNITS = 20, LAYERS = 2, PADDED = VOCAB + 2 };

enum { COLUMNS = 32, ROW_BYTES = 2 * COLUMNS, MAX_WEIGHT = 31 }; /* as in products.h */

static uint32_t random_bits(uint32_t *state) {
    *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
    return *state;
}

static float *random_floats(uint32_t *state, int64_t count) {
    float *found = memory(4 * count);
    for (int64_t i = 0; i < count; i++)
        found[i] = (float)(int32_t)random_bits(state) / (float)(1 << 30);
    return found;
}

/* Rows in groups of four. */
static int8_t *random_matrix(uint32_t *state, int64_t rows, const int32_t **sums) {
    int8_t *found = memory(rows * ROW_BYTES);
    int32_t *sum = memory(4 * rows);
    for (int64_t i = 0; i < rows * ROW_BYTES; i++) {
        found[i] = (int8_t)((int32_t)(random_bits(state) % (2 * MAX_WEIGHT + 1)) - MAX_WEIGHT);
        sum[i / (4 * ROW_BYTES) * 4 + i % (4 * COLUMNS) / COLUMNS] += found[i];
    }
    *sums = sum;
    return found;
}

static int32_t *tokens_of(const Vocabulary *v, int32_t kind, bool values, int32_t *count) {
    int32_t *found = memory(4 * MAX_VOCAB);
    *count = 0;
    for (int32_t i = 0; i < v->size; i++)
        if (v->kind[i] == kind) found[(*count)++] = values ? v->value[i] : i;
    return found;
}

/* A network with features for the usual vocabulary; made once. */
static const Network *small_network(void) {
    static Network net;
    if (net.layers) return &net;
    const Vocabulary v = usual_vocabulary();
    uint32_t s = 12345;
    net.size = SIZE, net.vocab = PADDED, net.residual = 1, net.layer_norm = 1;
    net.has_features = 1, net.programs = PROGRAMS + 2, net.tracks = 16, net.ages = 10;
    net.position_limit = POSITIONS, net.epsilon = 1e-5f;
    net.weights = random_matrix(&s, LAYERS * 8 * UNITS, &net.weight_sums);
    net.scales = random_floats(&s, LAYERS * 8 * UNITS);
    net.biases = random_floats(&s, LAYERS * 4 * UNITS);
    net.norms = random_floats(&s, (LAYERS + 1) * 2 * SIZE);
    net.embeddings = random_floats(&s, PADDED * SIZE);
    net.head = random_matrix(&s, PADDED, &net.head_sums), net.head_scales = random_floats(&s, PADDED);
    net.head_bias = random_floats(&s, PADDED);
    net.program = random_floats(&s, net.programs * SIZE);
    net.track = random_floats(&s, net.tracks * SIZE);
    net.following = random_floats(&s, net.programs * SIZE);
    net.age = random_floats(&s, net.ages * SIZE);
    net.candidate_inputs = random_floats(&s, CANDIDATES * PADDED * SIZE);
    net.gates = random_floats(&s, CANDIDATES * (SIZE + 3 * CANDIDATES));
    net.gate_bias = random_floats(&s, CANDIDATES);
    net.context = random_matrix(&s, CONTEXT_ROWS, &net.context_sums);
    net.context_scales = random_floats(&s, CONTEXT_ROWS);
    net.context_bias = random_floats(&s, CONTEXT_ROWS);
    net.pitch_tokens = tokens_of(&v, PITCH, false, &net.pitches);
    net.pitch_values = tokens_of(&v, PITCH, true, &net.pitches);
    net.position_tokens = tokens_of(&v, POSITION, false, &net.positions);
    net.position_values = tokens_of(&v, POSITION, true, &net.positions);
    net.duration_tokens = tokens_of(&v, DURATION, false, &net.durations);
    net.duration_values = tokens_of(&v, DURATION, true, &net.durations);
    net.layers = LAYERS;
    return &net;
}

static Sequence *read_sequence(Input *in, const TokenTable *table, char *workspace) {
    const Network *net = small_network();
    Sequence *sequence = memory(sequence_bytes(net));
    sequence_begin(sequence, net);
    const int32_t count = (int32_t)below(in, 100);
    int32_t *ids = read_ids(in, VOCAB, count);
    sequence_read(sequence, net, table, ids, one_in(in, 50) ? -count : count, workspace);
    free(ids);
    if (one_in(in, 4)) { /* a stored state, of numbers that a network can write */
        int64_t offsets[SEQUENCE_OFFSETS];
        sequence_offsets(net, offsets);
        float *hidden = (float *)((char *)sequence + offsets[SEQUENCE_HIDDEN]);
        float *logits = (float *)((char *)sequence + offsets[SEQUENCE_LOGITS]);
        for (int32_t i = 0; i < 2 * LAYERS * SIZE; i++) hidden[i] = 2.0f * share(in) - 1.0f;
        for (uint32_t i = below(in, 8); i; i--) logits[below(in, VOCAB)] = real(in);
    }
    return sequence;
}

static void restore(Input *in, Sequence *sequence, const TokenTable *table, const BarRules *rules) {
    const int32_t count = (int32_t)below(in, 200), prompt = number(in, 0, count);
    int32_t *ids = read_ids(in, VOCAB, count);
    sequence_restore(sequence, table, rules, ids, one_in(in, 50) ? -1 : count, prompt);
    free(ids);
}

static void fuzz_sequences(Input *in, const TokenTable *table) {
    const Network *net = small_network();
    const int32_t rows = one_in(in, 4) ? 2 : 1;
    char *workspace = memory(workspace_bytes(net, rows));
    Sequence *sequences[2];
    for (int32_t row = 0; row < rows; row++) {
        BarRules rules;
        read_rules(in, table, &rules);
        sequences[row] = read_sequence(in, table, workspace);
        restore(in, sequences[row], table, &rules);
    }
    for (uint32_t bars = 0; bars < 2 && in->at < in->end; bars++) {
        for (int32_t row = 0; row < rows; row++) {
            BarRules rules;
            read_rules(in, table, &rules);
            if (rules.most > 8 && !one_in(in, 50)) rules.most = 8, rules.fewest %= 8; /* faster */
            SamplingSettings sampling = one_in(in, 8) ? read_sampling(in) : checked_sampling(in);
            sequence_open_bar(sequences[row], table, &rules, &sampling, number(in, 0, 100), number(in, 0, 100));
        }
        if (one_in(in, 2)) {
            const int32_t count = (int32_t)below(in, 60);
            int32_t *ids = read_ids(in, VOCAB, count);
            sequences_append(sequences, rows, net, table, ids, one_in(in, 50) ? -1 : count, workspace);
            free(ids);
        }
        for (int32_t row = 0; row < rows; row++) {
            uint8_t parts[4][PROGRAMS];
            read_parts(in, parts);
            if (one_in(in, 2)) sequence_limit_parts(sequences[row], parts[0], parts[1], parts[2], parts[3]);
        }
        sequences_write(sequences, number(in, rows, rows) == rows ? rows : 0, net, table, workspace);
    }
    for (int32_t row = 0; row < rows; row++) free(sequences[row]);
    free(workspace);
}

/* Scores and prompts ----------------------------------------------------------------------------- */

static void read_score(Input *in, Score *score) {
    *score = (Score){.ticks_per_quarter = number(in, 1, 960)};
    score->tracks = (int32_t)below(in, 6), score->note_count = (int32_t)below(in, 60);
    score->tempo_count = (int32_t)below(in, 4), score->meter_count = (int32_t)below(in, 4);
    score->programs = memory(4 * (int64_t)score->tracks);
    score->notes = memory((int64_t)sizeof(ScoreNote) * score->note_count);
    score->tempos = memory((int64_t)sizeof(ScoreTempo) * score->tempo_count);
    score->meters = memory((int64_t)sizeof(ScoreMeter) * score->meter_count);
    for (int32_t i = 0; i < score->tracks; i++) score->programs[i] = number(in, -1, 127);
    const int32_t last = one_in(in, 8) ? INT32_MAX - 1 : 30000;
    for (int32_t i = 0; i < score->note_count; i++)
        score->notes[i] = (ScoreNote){number(in, 0, last), number(in, 1, 2000), number(in, 0, 127),
                                      number(in, 1, 127), number(in, 0, score->tracks - 1)};
    for (int32_t i = 0; i < score->tempo_count; i++)
        score->tempos[i] = (ScoreTempo){number(in, 0, last), number(in, 200000, 6000000)};
    for (int32_t i = 0; i < score->meter_count; i++)
        score->meters[i] = (ScoreMeter){number(in, 0, last), number(in, 1, 16),
                                        1 << below(in, 6)};
    if (one_in(in, 20)) score->tracks = -score->tracks;
    if (one_in(in, 20)) score->note_count = -score->note_count;
    if (one_in(in, 20)) score->tempo_count = -score->tempo_count;
    if (one_in(in, 20)) score->meter_count = -score->meter_count;
}

static void free_score(Score *score) {
    free(score->programs), free(score->notes), free(score->tempos), free(score->meters);
}

static int64_t count_of(int32_t value) { return value > 0 ? value : 0; }

static void decode(const TokenTable *table, const int32_t *ids, int64_t count, const Prompt *prompt,
                   const Score *file, double gain) {
    Score bar = {0};
    int32_t numbers[MAX_SCORE_PARTS];
    bar.notes = memory(count / 2 * (int64_t)sizeof(ScoreNote));
    bar.tempos = memory(count * (int64_t)sizeof(ScoreTempo));
    bar.meters = memory((count + 1) * (int64_t)sizeof(ScoreMeter));
    bar.programs = memory(MAX_SCORE_PARTS * 4);
    if (remi_decode(table, ids, count, &bar, numbers) == CORE_OK) {
        prompt_set_velocities(prompt, &bar, numbers, gain);
        for (int32_t part = 0; part < bar.tracks; part++) {
            const int32_t program = bar.programs[part];
            const int32_t played =
                prompt_program(prompt, file, NULL, NULL, program, numbers[part]);
            if (prompt)
                prompt_track(prompt, file, program, numbers[part], played, bar.notes ? 60 : 0);
        }
    }
    remi_length_ticks(table, ids, count);
    free_score(&bar);
}

static void fuzz_remi(Input *in, const TokenTable *table, const Vocabulary *v) {
    Score score;
    read_score(in, &score);
    const int64_t bytes = remi_scratch_bytes(&score), capacity = below(in, 600);
    if (bytes >= 0) {
        char *scratch = memory(bytes);
        int32_t *parts = memory(4 * count_of(score.tracks)), *ids = memory(4 * capacity);
        int64_t count = remi_order_parts(table, &score, parts, scratch);
        for (int32_t i = 0; i < score.tracks; i++)
            if (one_in(in, 10)) parts[i] = number(in, -1, 4);
        count = remi_encode(table, &score, parts, ids, one_in(in, 20) ? -1 : capacity, scratch);
        if (count >= 0 && count <= capacity) decode(table, ids, count, NULL, NULL, 1.0);
        free(scratch), free(parts), free(ids);
    }
    free_score(&score);
    const int32_t count = (int32_t)below(in, 300);
    int32_t *ids = read_ids(in, v->size, count);
    decode(table, ids, count, NULL, NULL, 2.0 * share(in));
    free(ids);
}

static void fuzz_prompt(Input *in, const TokenTable *table, const Vocabulary *v) {
    Score score;
    read_score(in, &score);
    int32_t substitutes[PROGRAMS];
    uint8_t programs[PROGRAMS], trained[PROGRAMS];
    for (int32_t i = 0; i < PROGRAMS; i++) substitutes[i] = UNMAPPED;
    for (int32_t i = 0; i < score.tracks; i++) {
        const int32_t program = score.programs[i];
        if (program >= -1 && program < 128) programs[program < 0 ? 128 : program] = 1;
    }
    read_programs(in, trained), read_programs(in, programs);
    prompt_map_programs(programs, one_in(in, 2) ? trained : NULL, substitutes);
    const int32_t end_tick = number(in, 0, 20000);
    const int64_t bytes = prompt_scratch_bytes(&score, end_tick), tracks = count_of(score.tracks);
    if (bytes >= 0 && bytes < 64 << 20) {
        char *scratch = memory(bytes);
        Prompt prompt = {0};
        prompt.ids = memory(4 * (CONTEXT_TOKENS + 1));
        prompt.programs = memory(4 * tracks), prompt.numbers = memory(4 * tracks);
        prompt.part_of_track = memory(4 * tracks), prompt.order = memory(4 * tracks);
        prompt.pitches = memory(4 * tracks), prompt.velocities = memory(EIGHTHS * tracks);
        const int32_t code = prompt_read(table, &score, one_in(in, 2) ? substitutes : NULL,
                                         end_tick, BOS, &prompt, scratch);
        if (code == CORE_OK) {
            require(prompt.id_count > 0 && prompt.id_count <= CONTEXT_TOKENS + 1, "ids fit");
            const int32_t count = (int32_t)below(in, 200);
            int32_t *ids = read_ids(in, v->size, count);
            decode(table, ids, count, &prompt, &score, 2.0 * share(in));
            free(ids);
        }
        free(scratch), free(prompt.ids), free(prompt.programs), free(prompt.numbers);
        free(prompt.part_of_track), free(prompt.order), free(prompt.pitches);
        free(prompt.velocities);
    }
    free_score(&score);
}

/* MIDI files ------------------------------------------------------------------------------------- */

/* Bytes of a file: any, or a header and a track of any bytes. */
static uint8_t *read_file(Input *in, int64_t *size) {
    static const uint8_t start[] = "MThd\0\0\0\6\0\1\0\1\0\140MTrk\0\0";
    const uint8_t format = (uint8_t)below(in, 3);
    const int64_t head = one_in(in, 20) ? 0 : 22, left = in->end - in->at;
    uint8_t *data = memory(head + left);
    memcpy(data, start, (size_t)(head ? 20 : 0));
    if (head) data[9] = format, data[20] = (uint8_t)(left >> 8), data[21] = (uint8_t)left;
    memcpy(data + head, in->at, (size_t)left);
    in->at = in->end;
    *size = head + left;
    return data;
}

static void write_file(const MidiFile *file, const uint8_t *texts, int64_t text_bytes) {
    const int64_t bytes = midi_write_scratch_bytes(file);
    if (bytes < 0) return;
    char *scratch = memory(bytes);
    const int64_t size = midi_write(file, 1000, texts, text_bytes, NULL, 0, scratch);
    if (size >= 0) {
        uint8_t *out = memory(size);
        require(midi_write(file, 1000, texts, text_bytes, out, size, scratch) == size, "one size");
        MidiFile again;
        require(midi_count(out, size, &again) == CORE_OK, "what is written can be read");
        require(again.damaged_tracks == 0 && again.wrong_lengths == 0, "and is not damaged");
        require(again.note_count <= file->note_count, "and has no further note");
        free(out);
    }
    free(scratch);
}

/* Orders the notes by voice and gives each voice the controls of its channel. */
static void write_again(MidiFile *file, const uint8_t *data, int64_t size) {
    MidiFile copy = *file;
    const int64_t most = (int64_t)file->control_count * file->voice_count;
    copy.notes = memory(file->note_count * (int64_t)sizeof *copy.notes);
    copy.controls = memory(most * (int64_t)sizeof *copy.controls);
    copy.note_count = copy.control_count = 0;
    for (int32_t voice = 0; voice < file->voice_count; voice++) {
        for (int32_t i = 0; i < file->note_count; i++)
            if (file->notes[i].track == voice) copy.notes[copy.note_count++] = file->notes[i];
        for (int32_t i = 0; i < file->control_count; i++) {
            if (file->controls[i].channel != file->voices[voice].channel) continue;
            copy.controls[copy.control_count] = file->controls[i];
            copy.controls[copy.control_count++].channel = voice;
        }
    }
    write_file(&copy, data, size);
    free(copy.notes), free(copy.controls);
}

static void fuzz_midi(Input *in) {
    int64_t size;
    uint8_t *data = read_file(in, &size);
    MidiFile file;
    if (midi_count(data, size, &file) == CORE_OK) {
        file.notes = memory(file.note_count * (int64_t)sizeof *file.notes);
        file.controls = memory(file.control_count * (int64_t)sizeof *file.controls);
        file.tempos = memory(file.tempo_count * (int64_t)sizeof *file.tempos);
        file.meters = memory(file.meter_count * (int64_t)sizeof *file.meters);
        file.keys = memory(file.key_count * (int64_t)sizeof *file.keys);
        file.texts = memory(file.text_count * (int64_t)sizeof *file.texts);
        file.voices = memory(MAX_MIDI_VOICES * (int64_t)sizeof *file.voices);
        char *scratch = memory(midi_scratch_bytes(&file));
        if (midi_read(data, size, &file, scratch) == CORE_OK) {
            for (int32_t i = 0; i < file.note_count; i++)
                require(file.notes[i].track < file.voice_count && file.notes[i].duration > 0, "notes");
            write_again(&file, data, size);
        }
        free(scratch), free(file.notes), free(file.controls), free(file.tempos);
        free(file.meters), free(file.keys), free(file.texts), free(file.voices);
    }
    free(data);
}

/* Driver ----------------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Input in = {data, data + size};
    Vocabulary v;
    const uint8_t target = (uint8_t)take(&in, 1);
    const bool changed = one_in(&in, 4);
    TokenTable *table = read_table(&in, &v, changed);
    if (!table) return 0;
    switch (target % 9) {
    case 0: fuzz_features(&in, table, &v); break;
    case 1: fuzz_grammar(&in, table, &v); break;
    case 2:
        if (!changed) fuzz_bars(&in, table, &v);
        break;
    case 3: fuzz_sampling(&in, table, &v); break;
    case 4:
        if (v.size <= VOCAB) fuzz_sequences(&in, table);
        break;
    case 5: fuzz_remi(&in, table, &v); break;
    case 6: fuzz_bar_features(&in, table, &v); break;
    case 7: fuzz_midi(&in); break;
    default: fuzz_prompt(&in, table, &v);
    }
    free(table);
    return 0;
}
