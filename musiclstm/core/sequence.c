/* Sequences: read tokens, and write whole bars. */
#include "features_state.h"
#include "grammar_state.h"
#include "sampling.h"
#include "step.h"

/* Step features of one step. */
typedef struct {
    int16_t candidates[CANDIDATES];
    uint8_t runs[CANDIDATES], accuracy[CANDIDATES], parts[4], follows;
    int8_t pitches[REFERENCE_PITCHES];
    int16_t positions[2], sounding, sizes[4];
    float part[PITCHES], recent[CLASSES], piece[CLASSES];
    float onsets[RHYTHM_STEPS], durations[RHYTHM_STEPS];
} StepBuffers;

/* A bar of the last ones, while the open bar is a copy of its beginning: equal tokens, with pitches
 * shifted by one interval. */
typedef struct {
    int32_t start, length; /* index of its first token in the stream, and number of tokens */
    int32_t interval;      /* from its pitches to those of the open bar */
    uint8_t is_copied, has_interval;
} EarlierBar;

/* Logit penalty on the token that continues a copy of n earlier bars which includes a note:
 * log(repetition_penalty) times n (n - 1) / 2. So a bar may be repeated once, and each further copy is
 * less probable. */
typedef struct {
    int32_t count; /* of new bars that are kept, the oldest first */
    EarlierBar bars[MAX_REPETITION_BARS];
    int32_t has_note;
} Repetition;

struct Sequence {
    int32_t status[2]; /* number of tokens of the bar; whether it is complete */
    RandomState random;
    SamplingSettings sampling;
    Repetition repetition;
    StepBuffers step;
    int32_t tokens[MAX_BAR_TOKENS];
    float log_probs[MAX_BAR_TOKENS];
    GrammarState grammar;
    FeatureState features;
    float numbers[]; /* hidden, cell, output, logits */
};

/* Memory ------------------------------------------------------------------------------------------ */

static int64_t states(const Network *net) { return (int64_t)net->layers * net->size; }

int64_t sequence_bytes(const Network *net) {
    const int64_t numbers = 2 * states(net) + net->size + net->vocab;
    return ((int64_t)(sizeof(Sequence) + sizeof(float) * numbers) + 63) / 64 * 64;
}

void sequence_offsets(const Network *net, int64_t *offsets) {
    const int64_t numbers = (int64_t)__builtin_offsetof(Sequence, numbers);
    offsets[SEQUENCE_HIDDEN] = numbers;
    offsets[SEQUENCE_CELL] = numbers + 4 * states(net);
    offsets[SEQUENCE_LOGITS] = numbers + 4 * (2 * states(net) + net->size);
    offsets[SEQUENCE_TOKENS] = (int64_t)__builtin_offsetof(Sequence, tokens);
    offsets[SEQUENCE_LOG_PROBS] = (int64_t)__builtin_offsetof(Sequence, log_probs);
    offsets[SEQUENCE_STATUS] = (int64_t)__builtin_offsetof(Sequence, status);
}

static NetworkRow network_row(Sequence *s, const Network *net) {
    StepBuffers *b = &s->step;
    NetworkRow row;
    row.token = NONE, row.copy_weight = s->sampling.copy_weight;
    row.hidden = s->numbers, row.cell = row.hidden + states(net);
    row.output = row.cell + states(net), row.logits = row.output + net->size;
    row.features = (FeatureOutputs){
        b->candidates, b->runs,   b->accuracy, b->parts, b->pitches, b->positions, &b->follows,
        &b->sounding,  b->part,   b->recent,   b->piece, b->onsets,  b->durations, b->sizes,
    };
    return row;
}

void sequence_begin(Sequence *s, const Network *net) {
    memset(s, 0, (size_t)sequence_bytes(net));
    s->sampling.copy_weight = 1.0f;
    features_begin(&s->features);
}

/* Existing tokens --------------------------------------------------------------------------------- */

static int32_t check_tokens(const Sequence *s, const TokenTable *table, const int32_t *ids,
                            int64_t count) {
    if (count > INT32_MAX - 2 - (int64_t)s->features.cursor.index) return CORE_TOO_LONG;
    return check_ids(table, ids, count);
}

static void read_features(Sequence *s, const TokenTable *table, const NetworkRow *row) {
    features_push(&s->features, table, row->token);
    features_write(&s->features, table, &row->features, 0);
}

int32_t sequence_read(Sequence *s, const Network *net, const TokenTable *table,
                      const int32_t *ids, int64_t count, char *workspace) {
    const int32_t error = check_tokens(s, table, ids, count);
    NetworkRow row = network_row(s, net);
    if (error) return error;
    for (int64_t i = 0; i < count; i++) {
        row.token = ids[i];
        read_features(s, table, &row);
        network_read(net, 1, &row, workspace);
    }
    if (count) network_score(net, 1, &row, workspace);
    return CORE_OK;
}

/* Keeps the last bars, the open one included; `start` is the index of its first token. */
static void add_bar(Repetition *r, int32_t start) {
    if (r->count == MAX_REPETITION_BARS) {
        memmove(r->bars, r->bars + 1, sizeof r->bars - sizeof *r->bars);
        r->count--;
    }
    r->bars[r->count++] = (EarlierBar){.start = start};
}

int32_t sequence_restore(Sequence *s, const TokenTable *table, const BarRules *rules,
                         const int32_t *ids, int64_t count, int64_t prompt) {
    int32_t error;
    features_begin(&s->features);
    memset(&s->repetition, 0, sizeof s->repetition);
    if (prompt < 0 || prompt > count) return CORE_BAD_LENGTH;
    if ((error = check_tokens(s, table, ids, count))) return error;
    if ((error = grammar_begin(&s->grammar, table, rules))) return error;
    int64_t first = prompt; /* of the prompt itself: pieces that were read before it end with EOS */
    while (first && ids[first - 1] != table->eos) first--;
    if ((error = grammar_read_prompt(&s->grammar, table, ids + first, prompt - first)))
        return error;
    if ((error = grammar_advance(&s->grammar, table, ids + prompt, count - prompt))) return error;
    for (int64_t i = 0; i < count; i++) {
        features_push(&s->features, table, ids[i]);
        if (i < prompt) continue;
        if (ids[i] == table->bar) add_bar(&s->repetition, (int32_t)i);
        if (s->repetition.count) s->repetition.bars[s->repetition.count - 1].length++;
    }
    return CORE_OK;
}

/* Repetition penalty ------------------------------------------------------------------------------ */

static void open_repetition(Sequence *s) {
    Repetition *r = &s->repetition;
    const int32_t first = r->count - s->sampling.repetition_bars;
    for (int32_t i = 0; i < r->count; i++) {
        r->bars[i].is_copied = i >= first && s->sampling.log_penalty > 0;
        r->bars[i].has_interval = 0, r->bars[i].interval = 0;
    }
    r->has_note = 0;
}

/* The token at an index of an earlier bar, moved by the interval; NONE without one. */
static int32_t expected_token(const Sequence *s, const TokenTable *table, const EarlierBar *bar,
                              int32_t index) {
    const int32_t at = bar->start + index;
    if (index >= bar->length || s->features.cursor.index - at >= RING) return NONE;
    const int32_t token = s->features.ids[(uint32_t)at % RING];
    if (table->kind[token] != PITCH || !bar->has_interval) return token;
    const int32_t moved = pitch_id(table, table->value[token] + bar->interval, false);
    return moved >= 0 ? moved : NONE;
}

static int32_t find_changes(const Sequence *s, const TokenTable *table, LogitChange *changes) {
    const Repetition *r = &s->repetition;
    int32_t count = 0, copies[MAX_REPETITION_BARS];
    for (int32_t i = 0; r->has_note && i < r->count; i++) {
        if (!r->bars[i].is_copied) continue;
        const int32_t token = expected_token(s, table, r->bars + i, s->status[0]);
        if (token == NONE) continue;
        int32_t at = 0;
        while (at < count && changes[at].token != token) at++;
        if (at == count) changes[at].token = token, changes[at].amount = 0, copies[count++] = 0;
        changes[at].amount -= s->sampling.log_penalty * copies[at]++;
    }
    return count;
}

/* Reads a token that becomes number `index` of the bar. */
static void advance_repetition(Sequence *s, const TokenTable *table, int32_t token,
                               int32_t index) {
    Repetition *r = &s->repetition;
    for (int32_t i = 0; i < r->count; i++) {
        EarlierBar *bar = r->bars + i;
        if (!bar->is_copied) continue;
        const int32_t expected = expected_token(s, table, bar, index);
        if (!bar->has_interval && expected != NONE && table->kind[expected] == PITCH
            && table->kind[token] == PITCH) {
            bar->interval = table->value[token] - table->value[expected];
            bar->has_interval = 1;
        } else {
            bar->is_copied = token == expected;
        }
    }
    r->has_note |= table->kind[token] == PITCH || table->kind[token] == DRUM;
}

/* New bars ---------------------------------------------------------------------------------------- */

static int32_t append(Sequence *s, const TokenTable *table, int32_t token, float log_prob) {
    const int32_t index = s->status[0];
    if (index == MAX_BAR_TOKENS) return CORE_BAR_TOO_LONG;
    const int32_t error = grammar_advance(&s->grammar, table, &token, 1);
    if (error) return error;
    advance_repetition(s, table, token, index);
    s->tokens[index] = token, s->log_probs[index] = log_prob;
    s->status[0]++;
    return CORE_OK;
}

int32_t sequence_open_bar(Sequence *s, const TokenTable *table, const BarRules *rules,
                          const SamplingSettings *sampling, int32_t bar, int32_t candidate) {
    if (!sampling_is_valid(sampling) || bar < 0 || candidate < 0) return CORE_BAD_RULES;
    if (table->bar == NONE) return CORE_NO_TOKEN;
    const int32_t error = grammar_open_bar(&s->grammar, table, rules);
    if (error) return error;
    s->sampling = *sampling;
    s->random = (RandomState){sampling->seed, (uint32_t)bar, (uint32_t)candidate, 0};
    s->status[0] = s->status[1] = 0;
    open_repetition(s);
    return append(s, table, table->bar, 0.0f);
}

static void complete_bar(Sequence *s) {
    s->status[1] = 1;
    add_bar(&s->repetition, s->features.cursor.index + 1 - s->status[0]);
    s->repetition.bars[s->repetition.count - 1].length = s->status[0];
}

static int32_t choose_token(Sequence *s, const TokenTable *table, const float *logits) {
    uint8_t permitted[MAX_VOCAB];
    LogitChange changes[MAX_REPETITION_BARS];
    float log_prob;
    grammar_permitted(&s->grammar, table, permitted);
    const int32_t count = find_changes(s, table, changes);
    const int32_t token = sample_token(&s->sampling, table, logits, permitted, changes, count,
                                       &s->random, &log_prob);
    if (token < 0) return token;
    if (token != table->bar && token != table->eos) return append(s, table, token, log_prob);
    complete_bar(s);
    return CORE_OK;
}

static int32_t check_sequences(Sequence *const *sequences, int32_t rows) {
    if (!within(rows, 1, MAX_ROWS)) return CORE_BAD_LENGTH;
    for (int32_t r = 0; r < rows; r++) {
        const Sequence *s = sequences[r];
        if (s->status[1] || !within(s->status[0], 1, MAX_BAR_TOKENS)) return CORE_NO_OPEN_BAR;
        if (s->features.cursor.index > INT32_MAX - 2 - MAX_BAR_TOKENS) return CORE_TOO_LONG;
    }
    return CORE_OK;
}

/* Reads the last token of each bar; writes the logits of the next ones. */
static void read_last_tokens(Sequence *const *sequences, NetworkRow *row, int32_t rows,
                             const Network *net, const TokenTable *table, char *workspace) {
    for (int32_t r = 0; r < rows; r++) {
        row[r].token = sequences[r]->tokens[sequences[r]->status[0] - 1];
        read_features(sequences[r], table, row + r);
    }
    network_read(net, rows, row, workspace);
    network_score(net, rows, row, workspace);
}

static int32_t check_kept(Sequence *const *sequences, int32_t rows, const TokenTable *table,
                          const int32_t *ids, int64_t count) {
    int32_t error = check_sequences(sequences, rows);
    for (int32_t r = 0; r < rows && !error; r++) {
        error = check_tokens(sequences[r], table, ids, count);
        if (!error && count > MAX_BAR_TOKENS - sequences[r]->status[0]) error = CORE_BAR_TOO_LONG;
        if (!sequences[r]->grammar.unit) error = CORE_NO_OPEN_BAR; /* was not restored */
    }
    for (int64_t i = 0; i < count && !error; i++)
        if (table->kind[ids[i]] == BAR || table->kind[ids[i]] == OTHER) error = CORE_BAD_KEPT;
    return error;
}

int32_t sequences_append(Sequence *const *sequences, int32_t rows, const Network *net,
                         const TokenTable *table, const int32_t *ids, int64_t count,
                         char *workspace) {
    NetworkRow row[MAX_ROWS];
    int32_t error = check_kept(sequences, rows, table, ids, count);
    if (error) return error;
    for (int32_t r = 0; r < rows; r++) row[r] = network_row(sequences[r], net);
    for (int64_t i = 0; i < count && !error; i++) {
        read_last_tokens(sequences, row, rows, net, table, workspace);
        for (int32_t r = 0; r < rows && !error; r++) {
            const float log_prob = token_log_prob(table, row[r].logits, ids[i]);
            error = append(sequences[r], table, ids[i], log_prob);
        }
    }
    return error;
}

int32_t sequence_limit_parts(Sequence *s, const uint8_t *kept, const uint8_t *added,
                             const uint8_t *required, const uint8_t *lines) {
    const int32_t error = check_sequences(&s, 1);
    return error ? error : grammar_limit_parts(&s->grammar, kept, added, required, lines);
}

int32_t sequences_write(Sequence *const *sequences, int32_t rows, const Network *net,
                        const TokenTable *table, char *workspace) {
    NetworkRow row[MAX_ROWS];
    int32_t complete = 0, error = check_sequences(sequences, rows);
    for (int32_t r = 0; r < rows && !error; r++) row[r] = network_row(sequences[r], net);
    while (!complete && !error) {
        read_last_tokens(sequences, row, rows, net, table, workspace);
        for (int32_t r = 0; r < rows && !error; r++) {
            error = choose_token(sequences[r], table, row[r].logits);
            complete += sequences[r]->status[1];
        }
    }
    return error ? error : complete;
}
