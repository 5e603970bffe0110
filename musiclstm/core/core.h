/* The core: what composes, in C11. Every entry point is declared here.
 *
 * Blocks of memory belong to the caller, hold no pointers, and are copied with memcpy. No function
 * allocates memory and nothing is global, so two threads may work on two blocks at once. A function
 * that reads ids, lengths or indices from outside returns one of the error codes, or CORE_OK.
 */
#ifndef MUSICLSTM_CORE_H
#define MUSICLSTM_CORE_H

#include <stdint.h>

enum {
    CORE_OK = 0,
    CORE_BAD_TOKEN = -1,    /* an id that the table does not have */
    CORE_BAD_LENGTH = -2,   /* a count out of range */
    CORE_TOO_LONG = -3,     /* a stream of more than 2^31 - 2 tokens */
    CORE_BAD_SIZE = -4,     /* of the vocabulary */
    CORE_BAD_PITCH = -5,    /* a pitch outside 0..127, or a velocity outside 1..127 */
    CORE_BAD_POSITION = -6, /* outside 0..191 */
    CORE_BAD_PROGRAM = -7,  /* outside -1..127 */
    CORE_BAD_METER = -8,    /* a length outside 1..8191 or a unit outside 1..16 */
    CORE_BAD_DURATION = -9, /* outside 1..8191 */
    CORE_BAD_KIND = -10,    /* not a kind of token */
    CORE_NO_TOKEN = -11,    /* no token is permitted, or the highest logit is not finite */
    CORE_BAD_RULES = -12,   /* a number of the bar's rules or sampling is out of range */
    CORE_BAR_TOO_LONG = -13, /* a bar of more than MAX_BAR_TOKENS tokens */
    CORE_BAD_TICK = -14,  /* below 0, or after bar 1,000,000 */
    CORE_BAD_TRACK = -15, /* a track or part that does not exist, or a part without a track */
    CORE_NO_OPEN_BAR = -16,  /* a sequence has no open bar */
    CORE_BAD_KEPT = -17,     /* kept tokens without a meter, beyond a bar, or with half a note */
    CORE_NOT_MIDI = -18,     /* no MIDI header in the first bytes of a file */
    CORE_BAD_DIVISION = -19, /* a MIDI file without a valid number of ticks per quarter or frame */
    CORE_TOO_MANY_VOICES = -20, /* more than MAX_MIDI_VOICES */
};

enum {
    CANDIDATES = 6,
    REFERENCE_PITCHES = 5,
    PITCHES = 128,
    PROGRAMS = 129, /* the last one: drums */
    POSITIONS = 192,
    RHYTHM_STEPS = 192,
    CLASSES = 12,
    MAX_VOCAB = 4096,
    MAX_TRACKS = 8, /* of a program */
    MAX_SCORE_TRACKS = 4096,
    MAX_SCORE_PARTS = PROGRAMS * MAX_TRACKS,
    MAX_SCORE_EVENTS = 4194304, /* notes, tempos and meters, each */
    MAX_ROWS = 32,
    MAX_BAR_TOKENS = 32768,
    MAX_REPETITION_BARS = 64,
    NO_LIMIT = 1000000, /* of the numbers of BarRules */
};

/* Tokens ---------------------------------------------------------------------------------------- */

typedef struct TokenTable TokenTable; /* kind, value and unit of each token */

int64_t token_table_bytes(void);

/* Fills a table; the arrays hold one entry a token, as the attributes of `TokenTable` in Python.
 * eos: id of the end of a piece. */
int32_t token_table_fill(TokenTable *table, int32_t size, const int32_t *kind,
                         const int32_t *value, const int32_t *unit, int32_t eos);

/* Tokens of notes (remi*.c): the compiled form of musiclstm/tokens ----------------------------------- */

typedef struct {
    int32_t tick, duration; /* in ticks of the score */
    int32_t pitch;          /* 0 to 127 */
    int32_t velocity;
    int32_t track;          /* index */
} ScoreNote;

typedef struct {
    int32_t tick;
    int32_t mspq; /* microseconds in a quarter note */
} ScoreTempo;

typedef struct {
    int32_t tick, numerator, denominator;
} ScoreMeter;

/* Music in ticks; events in any order. Arrays are the caller's, and a count of 0 needs none. In
 * WebAssembly all fields are 32-bit integers, pointers too. */
typedef struct {
    int32_t ticks_per_quarter; /* at least 1 */
    int32_t tracks, note_count, tempo_count, meter_count;
    int32_t *programs; /* (tracks): 0 to 127, -1 for drums */
    ScoreNote *notes;
    ScoreTempo *tempos;
    ScoreMeter *meters;
} Score;

/* Bytes of scratch memory for the functions below, or CORE_BAD_LENGTH. Reads the counts only. */
int64_t remi_scratch_bytes(const Score *score);

/* Writes the part of each track, (tracks): 0 for the first part of a bar, -1 for a track without a
 * note that has a token. Parts are ordered by mean pitch from the top, drums last. Returns the
 * number of parts or an error. */
int32_t remi_order_parts(const TokenTable *table, const Score *score, int32_t *part_of_track,
                         char *scratch);

/* Writes the ids of a score without BOS and EOS, at most `capacity` of them. Returns how many there
 * are, which may be more: then call again with more memory; 0 without notes; or an error.
 *
 * part_of_track: of remi_order_parts, or another order; tracks of -1 are omitted. */
int64_t remi_encode(const TokenTable *table, const Score *score, const int32_t *part_of_track,
                    int32_t *ids, int64_t capacity, char *scratch);

/* Decodes ids, any numbers, into a score of 48 ticks per quarter with one track per part, in order of
 * appearance. Velocities are 64. The caller sets the pointers of the score, to memory for count / 2
 * notes, `count` tempos, `count` + 1 meters and MAX_SCORE_PARTS programs. numbers: of each part,
 * (MAX_SCORE_PARTS), 0 for the first track of its program. */
int32_t remi_decode(const TokenTable *table, const int32_t *ids, int64_t count, Score *score,
                    int32_t *numbers);

/* Returns the length of all bars in 1/48 quarters, the ticks of remi_decode. */
int64_t remi_length_ticks(const TokenTable *table, const int32_t *ids, int64_t count);

/* MIDI files (midi_*.c) -------------------------------------------------------------------------- */

enum { MAX_MIDI_TRACKS = 1024, MAX_MIDI_VOICES = 1024, MIDI_CHANNELS = 256 };

typedef struct {
    int32_t tick, channel; /* channel: port * 16 + channel */
    int32_t status;        /* 0xB0 controller, 0xE0 pitch bend */
    int32_t first, second; /* data bytes, 0 to 127 */
    int32_t track;
} MidiControl;

typedef struct {
    int32_t tick, fifths, minor; /* fifths: -128 to 127; minor: 0 or 1 in a valid file */
} MidiKey;

typedef struct {
    int32_t tick, track, type; /* type: 1 text, 2 copyright, 3 name, 4 instrument, 5 lyric, 6 marker,
                                  7 cue */
    int32_t offset, length;    /* bytes in the file */
} MidiText;

/* Notes of one track, channel, program and bank. */
typedef struct {
    int32_t track, channel, program;
    int32_t bank; /* controller 0 * 128 + controller 32 */
    int32_t is_drum;
} MidiVoice;

/* A file: counts, what was repaired, and arrays of the caller. */
typedef struct {
    int32_t format, division, ticks_per_quarter; /* division: of the header, below 0 for SMPTE time */
    int32_t declared_tracks, tracks;
    int32_t event_count, note_count, control_count, tempo_count, meter_count, key_count, text_count,
        voice_count;
    int32_t leading_bytes;        /* before the header */
    int32_t unknown_chunks;
    int32_t wrong_lengths;        /* tracks that are complete, but not as long as they say */
    int32_t damaged_tracks;       /* read as far as they go */
    int32_t break_after, break_of; /* size of a file that breaks off in a track, and its full size */
    int32_t out_of_range;         /* data bytes above 127 */
    int32_t running_after_system; /* running status after an event that ends it */
    int32_t endless_notes;        /* without a note-off */
    int32_t doubled_notes;        /* left out: without length, another one begins there */
    int32_t lengthless_notes;     /* given a twelfth of a quarter */
    int32_t shared_events;        /* notes and controllers of tracks that share a channel, and differ */
    int32_t pedalled_ends;        /* notes that end one tick later, see midi_read */
    int32_t pressures;            /* left out: aftertouch of channels and keys */
    int32_t master_volumes;       /* left out: system exclusive messages */
    ScoreNote *notes;      /* (note_count): by onset; track: index of a voice */
    MidiControl *controls; /* (control_count): by time, simultaneous ones in the order of the file */
    ScoreTempo *tempos;    /* (tempo_count), in the order of the file as the following ones */
    ScoreMeter *meters;    /* (meter_count) */
    MidiKey *keys;         /* (key_count) */
    MidiText *texts;       /* (text_count) */
    MidiVoice *voices;     /* (MAX_MIDI_VOICES): ordered by track, channel, program */
} MidiFile;

/* Counts the events of a file. An upper limit: notes and controls may be fewer. */
int32_t midi_count(const uint8_t *data, int64_t size, MidiFile *file);

/* Bytes of scratch memory for midi_read, or an error. Reads the counts only. */
int64_t midi_scratch_bytes(const MidiFile *file);

/* Reads a file into the arrays, which the caller sets after midi_count.
 *
 * The state of a channel (program, bank, drum part by channel 10, GS, XG or GM2) is that of its port and
 * number in the whole file. Where several tracks choose programs of one channel at one time, as
 * programs write that have more tracks than channels, each track plays its own. A reset of controllers
 * (121) is replaced by values of those that have others, if there are any; a reset of GM, GS or XG
 * also sets volume, pan, bend range and program.
 *
 * A note-off ends the first open note of its key in its track, else in other tracks of the channel;
 * notes without an end last to the next onset of their key, at most four quarters. A note whose
 * note-off follows a press of the pedal at the same tick ends one tick later, so that the pedal holds
 * it. The patterns of format 2 follow each other from bar line to bar line of 4/4. */
int32_t midi_read(const uint8_t *data, int64_t size, MidiFile *file, char *scratch);

/* Bytes of scratch memory for midi_write, or an error. Reads the counts only. */
int64_t midi_write_scratch_bytes(const MidiFile *file);

/* Writes a file of format 1: a chunk of tempos, meters, keys and texts of track 0, then one chunk a
 * voice, with the texts of track 1, 2, ...; all end at `end_tick` or after their last event. Returns
 * the number of bytes, which may be more than `capacity`: then call again with more memory; or an
 * error.
 *
 * Drums have channel 10. Up to 15 other voices have a channel each. Of more, those of one program
 * and bank with the same controls share one, and further ones are on further ports. Notes of a voice
 * end at the next onset of their key; of simultaneous ones the longest stays.
 *
 * file: notes and controls are ordered by voice; `channel` of a control is the index of its voice.
 * `channel` and `track` of voices are not read. texts: bytes of the texts, (text_bytes). */
int64_t midi_write(const MidiFile *file, int32_t end_tick, const uint8_t *texts, int64_t text_bytes,
                   uint8_t *out, int64_t capacity, char *scratch);

/* Prompts (prompt*.c): the compiled form of parts of musiclstm/generation ------------------------------
 *
 * Arrays over programs have PROGRAMS entries, drums last. To continue a file:
 *
 * 1. Read it as midi/reader.py does, into a Score whose tracks all have notes.
 * 2. prompt_map_programs for the programs of its tracks and those of the constraints; then
 *    prompt_read.
 * 3. bar_rules_fill with the substitutes of the permitted programs, by default those of the tracks,
 *    and with `meter` and `max_at_once` of the prompt. sequence_read with `ids`, then
 *    sequence_set_prompt.
 * 4. For each bar that sequences_write completes: remi_decode, prompt_set_velocities, and
 *    prompt_program for each of its tracks. Bars follow each other by remi_length_ticks.
 * 5. Sort the notes of a track by tick and pitch. End notes at the next onset of their pitch and at
 *    the end of the last bar (midi/score_ops.py, trim_to_end).
 * 6. Multiply ticks by ticks_per_quarter * scale / 48, which is an integer for nearly all files
 *    (else round onsets and ends, halves to even), add `end_tick`, and give each note to prompt_track
 *    (generation/append_bars.py, concat_prompt, which also resets pedals and adds meters). */

enum {
    CONTEXT_BARS = 64,     /* the network reads at most the last so many bars of a prompt, */
    CONTEXT_TOKENS = 8192, /* and at most so many tokens, in whole bars */
    EIGHTHS = 24,          /* of the longest bar */
    UNMAPPED = -2,
};

/* A prompt as the network reads it. The caller sets the pointers before prompt_read. */
typedef struct {
    int32_t *ids;           /* (CONTEXT_TOKENS + 1): BOS and the last bars */
    int32_t *programs;      /* (tracks): of each part, as the network reads it */
    int32_t *numbers;       /* (tracks): of each part, 0 for the first track of its program */
    int32_t *part_of_track; /* (tracks): -1 for a track without notes */
    int32_t *order;         /* (tracks): tracks with notes; those of a part in the order to use */
    int32_t *pitches;       /* (tracks): twice the median pitch */
    uint8_t *velocities;    /* (tracks, EIGHTHS): of new notes of each part, by eighth of the bar */
    int32_t id_count, part_count, track_count; /* numbers of ids, parts, and tracks with notes */
    int32_t scale;          /* ticks below are so many times those of the score */
    int32_t bars;           /* of the whole prompt */
    int32_t start_tick;     /* bar line from which notes are read */
    int32_t end_tick;       /* bar line where the new music begins */
    int32_t meter;          /* TimeSig token of the meter of the new music; -1 if there is none */
    int32_t max_at_once;    /* default for BarRules: most notes that start together, 4 to 32 */
} Prompt;

/* Adds a trained program for each of `programs`, flags (PROGRAMS), to `substitutes`, which are
 * UNMAPPED at first, (PROGRAMS). trained: flags (PROGRAMS), or NULL for all. */
void prompt_map_programs(const uint8_t *programs, const uint8_t *trained, int32_t *substitutes);

/* Bytes of scratch memory for prompt_read, or an error. Reads counts, notes and `end_tick`. */
int64_t prompt_scratch_bytes(const Score *score, int32_t end_tick);

/* Reads the notes of a file: tempos of at least a microsecond per quarter note, notes at least a tick
 * long, see midi/sanitize.py.
 *
 * substitutes: of prompt_map_programs, for all programs of the tracks, (PROGRAMS); or NULL.
 * end_tick: bar line where the prompt ends, in ticks of the score; later events are not read. 0: the
 * first bar line at or after the end of the last note, 1/24 quarter less at most. */
int32_t prompt_read(const TokenTable *table, const Score *score, const int32_t *substitutes,
                    int32_t end_tick, int32_t bos, Prompt *prompt, char *scratch);

/* Writes the velocities of the notes of one new bar, a score of remi_decode with its `numbers`.
 * prompt: NULL without one. gain: a factor, below 1 for a fade-out. */
void prompt_set_velocities(const Prompt *prompt, Score *bar, const int32_t *numbers, double gain);

/* Returns the program that plays a part of the new music, given by its program and number in
 * remi_decode. permitted: programs of the constraints, flags (PROGRAMS), or NULL for all.
 * prompt and substitutes may be NULL. */
int32_t prompt_program(const Prompt *prompt, const Score *score, const int32_t *substitutes,
                       const uint8_t *permitted, int32_t program, int32_t number);

/* Returns the track of the prompt that plays a new note of a part; `played`: what prompt_program
 * returned for it. -1: a track that is added. */
int32_t prompt_track(const Prompt *prompt, const Score *score, int32_t program, int32_t number,
                     int32_t played, int32_t pitch);

/* Step features (features*.c): the compiled form of model/step_features.py, their definition ------- */

typedef struct FeatureState FeatureState; /* one stream */

/* Where to write the features after each token: arrays of (steps, ...), or NULL to skip one. */
typedef struct {
    int16_t *candidates; /* (steps, 6) */
    uint8_t *runs;       /* (steps, 6) */
    uint8_t *accuracy;   /* (steps, 6) */
    uint8_t *parts;      /* (steps, 4) */
    int8_t *pitches;     /* (steps, 5) */
    int16_t *positions;  /* (steps, 2) */
    uint8_t *follows;    /* (steps) */
    int16_t *sounding;   /* (steps) */
    float *part;         /* (steps, 128) */
    float *recent;       /* (steps, 12) */
    float *piece;        /* (steps, 12) */
    float *onsets;       /* (steps, 192) */
    float *durations;    /* (steps, 192) */
    int16_t *sizes;      /* (steps, 4) */
} FeatureOutputs;

int64_t features_state_bytes(void);

/* Starts a stream. */
void features_begin(FeatureState *state);

/* Reads rows of ids (rows, steps), and writes the features after each token into arrays of
 * (rows, steps, ...). On an error nothing is read.
 *
 * states: one after the other. lengths: tokens of each row, or NULL for all; the features beyond
 * are those of FeatureArrays.empty. reset: rows that start a stream first, or NULL for none. */
int32_t features_read_rows(FeatureState *states, const TokenTable *table, const int64_t *ids,
                           int64_t rows, int64_t steps, const int64_t *lengths,
                           const uint8_t *reset, const FeatureOutputs *out);

/* Grammar (grammar*.c): which tokens may follow ----------------------------------------------------- */

/* What one bar permits: constraints and the shape of the bar, compiled by bar_rules.py. */
typedef struct {
    int32_t max_at_once;    /* notes that start together, 1 to 32 */
    int32_t max_polyphony;  /* notes that sound together; 0: no limit */
    int32_t fewest, most;   /* notes that start in the bar */
    int32_t max_empty_bars; /* in a row */
    int32_t allows_tempos;
    int32_t has_ending;     /* notes end within the shortest bar after the bar line */
    int32_t closed;         /* notes end by the bar line */
    int32_t downbeat_only;  /* notes start on the first position only */
    int32_t off_beat;       /* the earliest onset is off the beat */
    int32_t needs_pitched;  /* a pitched note comes before any drum */
    int32_t mode;           /* pitch classes, as bits, outside of which the first pitched onset is; 0:
                               no such condition */
    int32_t keep_lines;     /* lines of the prompt start a note only after their last one */
    uint64_t meters;                /* permitted TimeSig tokens, as bits in order of ids */
    uint64_t pitches[PROGRAMS][2];  /* permitted MIDI pitches of each program, as bits */
} BarRules;

/* Writes rules without deviations and ending; the caller changes them for a bar. max_at_once is 32,
 * max_empty_bars 1, lines are kept, and there are no other limits.
 *
 * programs: those that may play, as the network knows them, flags (PROGRAMS), or NULL for all.
 * meter: TimeSig token of every bar, or -1 for any. classes: pitch classes of the pitched programs,
 * those of the key and, in the last bar of an ending, also of its chord, as bits; 0 for all. */
int32_t bar_rules_fill(BarRules *rules, const TokenTable *table, const uint8_t *programs,
                       int32_t meter, int32_t classes);

typedef struct GrammarState GrammarState;

int64_t grammar_state_bytes(void);

/* Starts before the first bar, without a prompt. */
int32_t grammar_begin(GrammarState *state, const TokenTable *table, const BarRules *rules);

/* Reads a prompt, any ids; new bars may have its tracks. */
int32_t grammar_read_prompt(GrammarState *state, const TokenTable *table, const int32_t *ids,
                            int64_t count);

/* Expects a Bar token; the rules apply from there on. NULL: the previous ones. */
int32_t grammar_open_bar(GrammarState *state, const TokenTable *table, const BarRules *rules);

/* Updates after tokens, which must be permitted ones in generated bars. */
int32_t grammar_advance(GrammarState *state, const TokenTable *table, const int32_t *ids,
                        int64_t count);

/* Ends the kept parts of the open bar, which has a meter; until its end only other parts may play.
 * Arrays over programs, (PROGRAMS), drums last. The notes that the bar needs are reduced to those
 * that are still possible.
 *
 * kept: the first so many parts of each program get no more notes in this bar. added: so many parts
 * of it after them may play. required: those of these that get a note as far as there is room, a bit
 * for each part of the program. lines: flags of programs whose added parts are lines from now on. */
int32_t grammar_limit_parts(GrammarState *state, const uint8_t *kept, const uint8_t *added,
                            const uint8_t *required, const uint8_t *lines);

/* Writes 1 for each token that may follow and 0 for the others, (vocab). */
void grammar_permitted(const GrammarState *state, const TokenTable *table, uint8_t *permitted);

/* Sampling (sampling.c) ------------------------------------------------------------------------------ */

/* The settings of `Sampling` in Python, checked there. */
typedef struct {
    float temperature;
    float pitch_temperature, rhythm_temperature; /* below 0: as `temperature` */
    float top_p, min_p, epsilon_cutoff;
    float log_penalty; /* natural logarithm of the repetition penalty */
    float copy_weight;
    int32_t top_k;           /* 0: no limit */
    int32_t repetition_bars; /* 1 to MAX_REPETITION_BARS */
    uint32_t seed;
} SamplingSettings;

/* Philox 4x32-10 (Salmon et al., SC 2011): key (seed, bar), counter (number of the draw, candidate). */
typedef struct {
    uint32_t seed, bar, candidate, draws;
} RandomState;

double random_uniform(RandomState *random); /* from 0 to below 1, 53 bits */

/* Added to a logit before sampling. */
typedef struct {
    int32_t token;
    float amount;
} LogitChange;

/* Writes the probability with which each token is sampled, (vocab). permitted: NULL for all. */
int32_t sampling_probabilities(const SamplingSettings *settings, const TokenTable *table,
                               const float *logits, const uint8_t *permitted,
                               float *probabilities);

/* Returns a token or an error. log_prob: natural logarithm of its probability at temperature 1 among
 * the permitted tokens, without the changes. */
int32_t sample_token(const SamplingSettings *settings, const TokenTable *table,
                     const float *logits, const uint8_t *permitted, const LogitChange *changes,
                     int32_t count, RandomState *random, float *log_prob);

/* Bars in their context (bar_features.c): which of several candidates is best ----------------------- */

/* Features of a bar, described in reference/bar_features.py. NaN: undefined. */
typedef enum {
    PITCH_CLASSES, PITCH_SHARES, DURATIONS, ONSET_INTERVALS,
    NOTES_PER_BAR, POSITION_SHARES, DENSITY, /* new bars against the prompt */
    BAR_PITCH_CLASSES, BAR_PITCHES, BAR_DENSITY, BAR_POSITIONS, /* the bar against it */
    PART_DENSITY, PART_ACTIVITY, SILENT_PARTS, OUTSIDE_RANGE,
    REPEAT_1, REPEAT_2, REPEAT_4, REPEAT_8, REPEAT, REPEAT_NEW,
    TOP_LINE, TOP_STEP, CLASHES,
    PHRASE_END_NOTE, LONGEST_NOTE, LOG_PROB,
    BAR_FEATURES,
} BarFeature;

enum { FEATURE_BINS = 8 };

/* Score of a bar: the sum over its defined features x of weight * x plus the log odds of the bin of x. */
typedef struct {
    float weights[BAR_FEATURES];
    float edges[BAR_FEATURES][FEATURE_BINS - 1]; /* ascending; x is in the bin above those <= x */
    float log_odds[BAR_FEATURES][FEATURE_BINS];
} BarScoreModel;

typedef struct BarContext BarContext; /* a prompt and the bars after it */

int64_t bar_context_bytes(void);

/* Starts with the bars of a prompt. */
int32_t bar_context_begin(BarContext *context, const TokenTable *table, const int32_t *ids,
                          int64_t count);

/* Adds a new bar. */
int32_t bar_context_add(BarContext *context, const TokenTable *table, const int32_t *ids,
                        int64_t count);

/* Writes the features (BAR_FEATURES) of a bar that could be added. log_probs: of its tokens. */
int32_t bar_context_features(BarContext *context, const TokenTable *table, const int32_t *ids,
                             int64_t count, const float *log_probs, float *features);

float bar_score(const BarScoreModel *model, const float *features);

/* Network step (step.c) ------------------------------------------------------------------------------ */

enum {
    PITCH_REACH = 36,     /* semitones to either side of a reference pitch */
    POSITION_REACH = 144, /* positions from a reference position */
    POSITION_LIMIT = 576,
    /* Rows of the context head as step.py orders them; each group is a multiple of four. */
    RELATIVE_PITCH_ROWS = 76, /* of each reference: 73 used */
    HISTOGRAM_AT = REFERENCE_PITCHES * RELATIVE_PITCH_ROWS, /* part, recent, piece, more notes */
    FILTERS_AT = HISTOGRAM_AT + 4,                          /* recent, piece, sounding */
    PITCH_ROWS = FILTERS_AT + 36,
    FORWARD_AT = PITCH_ROWS,                                /* from the last onset: 145 of 148 */
    AROUND_AT = FORWARD_AT + 148,                           /* from the last end: 289 of 292 */
    RHYTHM_AT = AROUND_AT + 292,                            /* onsets, durations, more onsets: 3 of 4 */
    CONTEXT_ROWS = RHYTHM_AT + 4,
};

/* The weights, in the order in which they are read. int8 matrices: (rows / 4, blocks, 4 rows,
 * 32 columns), an even number of blocks, from -31 to 31, with one scale and the sum of each row. */
typedef struct {
    int32_t layers, size, vocab; /* vocab: rounded up to a multiple of four */
    int32_t residual, layer_norm;
    int32_t has_features;
    int32_t programs, tracks, ages; /* rows of the tables below */
    int32_t pitches, positions, durations; /* tokens of these kinds */
    int32_t position_limit;         /* above every position, at most POSITION_LIMIT */
    float epsilon;                  /* of the norms */
    const int8_t *weights;    /* (layers, units / 4, 4 gates, 2, blocks, 4 units, 32); the 2: input
                                 and hidden state; units: size rounded up to a multiple of four */
    const int32_t *weight_sums; /* (layers, units / 4, 4 gates, 2, 4 units) */
    const float *scales;      /* (layers, 2, 4 gates, units) */
    const float *biases;      /* (layers, 4 gates, units) */
    const float *norms;       /* (layers + 1, 2, size): weight and bias */
    const float *embeddings;  /* (vocab, size) */
    const int8_t *head;       /* (vocab / 4, blocks, 4 tokens, 32) */
    const int32_t *head_sums; /* (vocab) */
    const float *head_scales; /* (vocab) */
    const float *head_bias;   /* (vocab) */
    /* The rest is read only with features. */
    const float *program, *track, *following, *age; /* (rows, size) each */
    const float *candidate_inputs;                  /* (6, vocab, size): projected embeddings */
    const float *gates;                             /* (6, size + 18) */
    const float *gate_bias;                         /* (6) */
    const int8_t *context;                          /* (CONTEXT_ROWS / 4, blocks, 4, 32) */
    const int32_t *context_sums;                    /* (CONTEXT_ROWS) */
    const float *context_scales, *context_bias;     /* (CONTEXT_ROWS) */
    const int32_t *pitch_tokens, *pitch_values;     /* (pitches): ids, and 0 to 127 */
    const int32_t *position_tokens, *position_values; /* (positions) */
    const int32_t *duration_tokens, *duration_values; /* (durations): ids, and positions */
} Network;

int32_t self_check(void);

/* Scratch memory for so many rows; it must be zero at first. */
int64_t workspace_bytes(const Network *net, int32_t rows);

/* Sequences (sequence.c): streams of tokens that the network reads and continues -------------------- */

typedef struct Sequence Sequence;

int64_t sequence_bytes(const Network *net);

/* Offsets in bytes of the parts of a sequence that the caller reads and writes. */
enum {
    SEQUENCE_HIDDEN,    /* float (layers, size) */
    SEQUENCE_CELL,      /* float (layers, size) */
    SEQUENCE_LOGITS,    /* float (vocab): of the next token */
    SEQUENCE_TOKENS,    /* int32 (MAX_BAR_TOKENS): of the bar */
    SEQUENCE_LOG_PROBS, /* float (MAX_BAR_TOKENS): of each token of the bar, 0 for Bar */
    SEQUENCE_STATUS,    /* int32 (2): number of tokens of the bar; 1 when it is complete, else 0 */
    SEQUENCE_OFFSETS,
};

void sequence_offsets(const Network *net, int64_t *offsets); /* (SEQUENCE_OFFSETS) */

/* Starts an empty sequence. */
void sequence_begin(Sequence *sequence, const Network *net);

/* Reads tokens into the network and the step features. */
int32_t sequence_read(Sequence *sequence, const Network *net, const TokenTable *table,
                      const int32_t *ids, int64_t count, char *workspace);

/* Restores a sequence whose hidden and cell states and logits the caller has written, before new bars:
 * computes the step features of `ids` again. The first `prompt` of them are a prompt, whose tracks new
 * bars may have; the others are new bars. */
int32_t sequence_restore(Sequence *sequence, const TokenTable *table, const BarRules *rules,
                         const int32_t *ids, int64_t count, int64_t prompt);

/* Opens new bar number `bar`. candidate: 0 or more; each has random numbers of its own. */
int32_t sequence_open_bar(Sequence *sequence, const TokenTable *table, const BarRules *rules,
                          const SamplingSettings *sampling, int32_t bar, int32_t candidate);

/* Appends the same tokens to the open bar of each sequence: a meter, tempos, and whole blocks. They
 * need not be permitted. Their log-probabilities are those without a grammar. On an error nothing is
 * appended. */
int32_t sequences_append(Sequence *const *sequences, int32_t rows, const Network *net,
                         const TokenTable *table, const int32_t *ids, int64_t count,
                         char *workspace);

/* Ends the kept parts of the open bar, see grammar_limit_parts. */
int32_t sequence_limit_parts(Sequence *sequence, const uint8_t *kept, const uint8_t *added,
                             const uint8_t *required, const uint8_t *lines);

/* Writes tokens until a bar is complete. Each sequence has an open bar. Returns how many are
 * complete, or an error. A complete bar's Bar or EOS token is not among its tokens: the next bar
 * begins with it. A sequence does not depend on the others. */
int32_t sequences_write(Sequence *const *sequences, int32_t rows, const Network *net,
                        const TokenTable *table, char *workspace);

#endif
