/* Features of a bar in its context, and the score by which one of several candidates is chosen.
 * reference/bar_features.py explains each feature.
 */
#include "arithmetic.h"
#include "bar_features.h"

static const float HALF = 0.5f;

/* Upper edges of the bins of durations and onset intervals, in 1/48 quarters: half octaves, centred
 * on note values from 1/16 quarter up. And of the bins of notes per bar. */
static const int16_t TIME_EDGES[TIME_BINS - 1] = {
    3, 4, 6, 8, 11, 15, 21, 29, 41, 58, 81, 115, 162, 229, 323, 457, 646, 914,
};
static const int16_t COUNT_EDGES[COUNT_BINS - 1] = {1, 3, 5, 7, 9, 12, 16, 20, 26, 34, 46, 64};

static int32_t bin_of(int32_t value, const int16_t *edges, int32_t count) {
    int32_t bin = 0;
    while (bin < count && value >= edges[bin]) bin++;
    return bin;
}

static float undefined(void) {
    const FloatBits nan = {0x7fc00000};
    return nan.value;
}

static float log2_ratio(float a, float b) {
    return (natural_log(a + HALF) - natural_log(b + HALF)) * 1.44269504f;
}

static float magnitude(float x) { return x < 0 ? -x : x; }

/* Notes of a bar ---------------------------------------------------------------------------------- */

static void insert_sorted(uint32_t *keys, int32_t *count, uint32_t key) {
    int32_t at = *count;
    while (at > 0 && keys[at - 1] > key) at--;
    if (at > 0 && keys[at - 1] == key) return;
    memmove(keys + at + 1, keys + at, sizeof *keys * (size_t)(*count - at));
    keys[at] = key, ++*count;
}

/* Onsets are in 1/48 quarters from the bar line, programs 0 to 128. */
static void add_note(Bar *bar, const BarNote *note) {
    const bool is_drum = note->program == PROGRAMS - 1;
    const int32_t position = note->onset / 12;
    if (bar->note_count == MOST_BAR_NOTES) return;
    bar->notes[bar->note_count++] = *note;
    insert_sorted(bar->keys, &bar->key_count,
                  (uint32_t)note->onset / 4 << 16 | (uint32_t)note->pitch << 8 | note->program);
    bar->onsets[note->onset / 64] |= (uint64_t)1 << note->onset % 64;
    bar->plays[note->program] |= (uint8_t)(1 << note->track);
    bar->positions[position < POSITION_BINS ? position : POSITION_BINS - 1]++;
    if (is_drum) return;
    bar->pitched++;
    bar->classes[note->pitch % CLASSES]++, bar->pitches[note->pitch]++;
    bar->durations[bin_of(note->duration, TIME_EDGES, TIME_BINS - 1)]++;
    if (note->duration > bar->longest) bar->longest = note->duration;
}

static void find_tops(Bar *bar) {
    bar->top[0] = bar->top[1] = NONE;
    for (int32_t i = 0; i < bar->note_count; i++) {
        const BarNote *note = bar->notes + i;
        int32_t *top = &bar->top[2 * note->onset >= bar->length];
        if (note->program != PROGRAMS - 1 && note->pitch > *top) *top = note->pitch;
    }
}

/* Distinct pitches that sound at the onset of a note: pairs of them, and those a semitone apart in
 * any octave. */
static void count_clashes(Bar *bar) {
    for (int32_t i = 0; i < bar->note_count; i++) {
        const int32_t onset = bar->notes[i].onset;
        uint64_t sounding[2] = {0};
        int32_t classes[CLASSES] = {0}, pitches = 0;
        bool is_first = bar->notes[i].program != PROGRAMS - 1;
        for (int32_t j = 0; j < bar->note_count && is_first; j++) {
            const BarNote *note = bar->notes + j;
            if (note->program == PROGRAMS - 1) continue;
            is_first = j >= i || note->onset != onset;
            if (note->onset <= onset && onset < note->onset + note->duration)
                sounding[note->pitch / 64] |= (uint64_t)1 << note->pitch % 64;
        }
        for (int32_t pitch = 0; pitch < PITCHES && is_first; pitch++) {
            if (!(sounding[pitch / 64] >> pitch % 64 & 1)) continue;
            classes[pitch % CLASSES]++, pitches++;
        }
        bar->pairs += pitches * (pitches - 1) / 2;
        for (int32_t c = 0; c < CLASSES; c++) bar->clashes += classes[c] * classes[(c + 1) % CLASSES];
    }
}

static void read_bar(Bar *bar, const TokenTable *table, const int32_t *ids, int64_t count) {
    uint8_t blocks[PROGRAMS] = {0};
    int32_t unit = 4, position = NONE, pitch = NONE, program = NONE, track = 0;
    memset(bar, 0, sizeof *bar);
    bar->length = 192;
    for (int64_t i = 0; i < count; i++) {
        const int32_t kind = table->kind[ids[i]], value = table->value[ids[i]];
        switch (kind) {
        case TIME_SIGNATURE: bar->length = value, unit = table->unit[ids[i]]; break;
        case PROGRAM:
            program = value == DRUMS ? PROGRAMS - 1 : value;
            track = blocks[program] < MAX_TRACKS ? blocks[program]++ : MAX_TRACKS - 1;
            position = pitch = NONE;
            break;
        case POSITION: position = value, pitch = NONE; break;
        case PITCH:
        case DRUM:
            pitch = program != NONE && position != NONE
                         && (kind == DRUM) == (program == PROGRAMS - 1) && position * unit < LONGEST_BAR
                ? value : NONE;
            break;
        case DURATION:
            if (pitch == NONE) break;
            add_note(bar, &(BarNote){(int16_t)(position * unit), (int32_t)value * unit, (uint8_t)pitch,
                                     (uint8_t)program, (uint8_t)track});
            pitch = NONE;
        }
    }
    find_tops(bar);
    count_clashes(bar);
}

/* Context ------------------------------------------------------------------------------------------ */

static const Bar *previous_bar(const BarContext *c, int32_t distance) {
    return &c->bars[(uint32_t)(c->count - distance) % CONTEXT_RING];
}

/* Adds the intervals between the onsets of a bar, and from an earlier onset; returns the last onset.
 * Times are in 1/48 quarters from any one bar line. */
static int64_t add_intervals(int32_t *histogram, const Bar *bar, int64_t start, int64_t last) {
    for (int32_t place = 0; place < LONGEST_BAR; place++) {
        if (!(bar->onsets[place / 64] >> place % 64 & 1)) continue;
        const int64_t interval = start + place - last;
        if (last != NONE)
            histogram[bin_of(interval < 1000 ? (int32_t)interval : 1000, TIME_EDGES, TIME_BINS - 1)]++;
        last = start + place;
    }
    return last;
}

static void add_counts(Histograms *sum, const Bar *bar, int64_t *start, int64_t *last) {
    for (int32_t i = 0; i < CLASSES; i++) sum->classes[i] += bar->classes[i];
    for (int32_t i = 0; i < PITCHES; i++) sum->pitches[i] += bar->pitches[i];
    for (int32_t i = 0; i < TIME_BINS; i++) sum->durations[i] += bar->durations[i];
    for (int32_t i = 0; i < POSITION_BINS; i++) sum->positions[i] += bar->positions[i];
    sum->bar_notes[bin_of(bar->note_count, COUNT_EDGES, COUNT_BINS - 1)]++;
    *last = add_intervals(sum->intervals, bar, *start, *last), *start += bar->length;
    sum->notes += bar->note_count, sum->bars++;
}

static void add_prompt_bar(BarContext *c, const Bar *bar) {
    PromptStats *p = &c->prompt;
    for (int32_t i = 0; i < PROGRAMS; i++)
        for (int32_t track = 0; track < MAX_TRACKS && bar->plays[i]; track++)
            p->part_bars[i][track] += bar->plays[i] >> track & 1;
    for (int32_t i = 0; i < bar->note_count; i++) {
        const BarNote *note = bar->notes + i;
        const int32_t program = note->program, track = note->track;
        if (!p->part_notes[program][track]++)
            p->lowest[program][track] = p->highest[program][track] = note->pitch;
        if (note->pitch < p->lowest[program][track]) p->lowest[program][track] = note->pitch;
        if (note->pitch > p->highest[program][track]) p->highest[program][track] = note->pitch;
    }
    p->clashes += bar->clashes, p->pairs += bar->pairs;
    memcpy(p->bar_positions[p->sums.bars], bar->positions, sizeof bar->positions);
}

static int32_t twice_median_top(const BarContext *c, int32_t bars) {
    int32_t tops[2 * PROMPT_BARS], count = 0;
    for (int32_t distance = bars; distance > 0; distance--) {
        for (int32_t half = 0; half < 2; half++) {
            const int32_t top = previous_bar(c, distance)->top[half];
            int32_t at = count;
            if (top == NONE) continue;
            for (; at > 0 && tops[at - 1] > top; at--) tops[at] = tops[at - 1];
            tops[at] = top, count++;
        }
    }
    return count ? tops[(count - 1) / 2] + tops[count / 2] : NONE;
}

static void append_bar(BarContext *c, const TokenTable *table, const int32_t *ids, int64_t count) {
    read_bar(&c->bars[(uint32_t)c->count % CONTEXT_RING], table, ids, count);
    c->count++;
}

int64_t bar_context_bytes(void) { return sizeof(BarContext); }

int32_t bar_context_begin(BarContext *c, const TokenTable *table, const int32_t *ids,
                          int64_t count) {
    const int32_t error = check_ids(table, ids, count);
    if (error) return error;
    memset(c, 0, sizeof *c);
    int64_t begin = 0;
    while (begin < count && table->kind[ids[begin]] != BAR) begin++;
    while (begin < count) {
        int64_t end = begin + 1;
        while (end < count && table->kind[ids[end]] != BAR) end++;
        append_bar(c, table, ids + begin, end - begin);
        begin = end;
    }
    const int32_t bars = c->count < PROMPT_BARS ? c->count : PROMPT_BARS;
    int64_t start = 0, last = NONE;
    for (int32_t distance = bars; distance > 0; distance--) {
        add_prompt_bar(c, previous_bar(c, distance));
        add_counts(&c->prompt.sums, previous_bar(c, distance), &start, &last);
    }
    c->prompt.twice_median_top = twice_median_top(c, bars);
    return CORE_OK;
}

int32_t bar_context_add(BarContext *c, const TokenTable *table, const int32_t *ids,
                        int64_t count) {
    const int32_t error = check_ids(table, ids, count);
    if (error) return error;
    append_bar(c, table, ids, count);
    c->added++;
    return CORE_OK;
}

/* Features ----------------------------------------------------------------------------------------- */

static int32_t sum_of_counts(const int32_t *counts, int32_t size) {
    int32_t sum = 0;
    for (int32_t i = 0; i < size; i++) sum += counts[i];
    return sum;
}

/* Intersection of two normalized histograms; undefined if one is empty. */
static float similarity(const int32_t *a, const int32_t *b, int32_t size) {
    const int32_t sum_a = sum_of_counts(a, size), sum_b = sum_of_counts(b, size);
    float shared = 0;
    if (!sum_a || !sum_b) return undefined();
    for (int32_t i = 0; i < size; i++) {
        const float x = (float)a[i] / (float)sum_a, y = (float)b[i] / (float)sum_b;
        shared += x < y ? x : y;
    }
    return shared;
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* Jaccard similarity of the notes of two bars. */
static float equal_share(const Bar *a, const Bar *b) {
    int32_t i = 0, j = 0, both = 0;
    while (i < a->key_count && j < b->key_count) {
        const uint32_t x = a->keys[i], y = b->keys[j];
        both += x == y, i += x <= y, j += y <= x;
    }
    return (float)both / (float)(a->key_count + b->key_count - both);
}

static void compare_new_bars(const BarContext *c, const Bar *bar, float *features) {
    const int32_t earlier = least(c->added, NEW_BARS - 1);
    const Histograms *prompt = &c->prompt.sums;
    Histograms sums = {0};
    int64_t start = 0, last = NONE;
    for (int32_t distance = earlier; distance > 0; distance--)
        add_counts(&sums, previous_bar(c, distance), &start, &last);
    add_counts(&sums, bar, &start, &last);
    features[PITCH_CLASSES] = similarity(sums.classes, prompt->classes, CLASSES);
    features[PITCH_SHARES] = similarity(sums.pitches, prompt->pitches, PITCHES);
    features[DURATIONS] = similarity(sums.durations, prompt->durations, TIME_BINS);
    features[ONSET_INTERVALS] = similarity(sums.intervals, prompt->intervals, TIME_BINS);
    features[NOTES_PER_BAR] = similarity(sums.bar_notes, prompt->bar_notes, COUNT_BINS);
    features[POSITION_SHARES] = similarity(sums.positions, prompt->positions, POSITION_BINS);
    features[DENSITY] = features[BAR_DENSITY] = undefined();
    if (!prompt->bars) return;
    const float mean = (float)prompt->notes / (float)prompt->bars;
    features[DENSITY] = log2_ratio((float)sums.notes / (float)sums.bars, mean);
    features[BAR_DENSITY] = log2_ratio((float)bar->note_count, mean);
}

static void compare_bar(const BarContext *c, const Bar *bar, float *features) {
    const PromptStats *p = &c->prompt;
    features[BAR_PITCH_CLASSES] = similarity(bar->classes, p->sums.classes, CLASSES);
    features[BAR_PITCHES] = similarity(bar->pitches, p->sums.pitches, PITCHES);
    features[BAR_POSITIONS] = undefined();
    for (int32_t i = 0; i < p->sums.bars; i++) {
        const float found = similarity(bar->positions, p->bar_positions[i], POSITION_BINS);
        if (found == found && !(features[BAR_POSITIONS] >= found)) features[BAR_POSITIONS] = found;
    }
}

static void compare_parts(const BarContext *c, const Bar *bar, float *features) {
    const PromptStats *p = &c->prompt;
    const float bars = (float)p->sums.bars;
    const Bar *previous = c->count ? previous_bar(c, 1) : NULL;
    int32_t parts = 0, playing = 0, silent = 0, notes = 0, outside = 0;
    float density = 0, activity = 0;
    int32_t counts[PROGRAMS][MAX_TRACKS] = {{0}};
    for (int32_t i = 0; i < bar->note_count; i++) {
        const BarNote *note = bar->notes + i;
        const int32_t program = note->program, track = note->track;
        counts[program][track]++;
        if (program == PROGRAMS - 1 || !p->part_notes[program][track]) continue;
        notes++;
        outside += !within(note->pitch, p->lowest[program][track], p->highest[program][track]);
    }
    for (int32_t i = 0; i < PROGRAMS * MAX_TRACKS; i++) {
        const int32_t program = i / MAX_TRACKS, track = i % MAX_TRACKS;
        if (!p->part_bars[program][track]) continue;
        const float share = (float)p->part_bars[program][track] / bars;
        const float limited = share > 0.95f ? 0.95f : share < 0.05f ? 0.05f : share;
        const bool plays = bar->plays[program] >> track & 1;
        parts++;
        density += magnitude(log2_ratio((float)counts[program][track],
                                        (float)p->part_notes[program][track] / bars));
        activity += natural_log(plays ? limited : 1.0f - limited);
        if (share < HALF) continue;
        playing++;
        silent += !plays && !(previous && previous->plays[program] >> track & 1);
    }
    features[PART_DENSITY] = parts ? density / (float)parts : undefined();
    features[PART_ACTIVITY] = parts ? activity / (float)parts : undefined();
    features[SILENT_PARTS] = playing ? (float)silent / (float)playing : undefined();
    features[OUTSIDE_RANGE] = notes ? (float)outside / (float)notes : undefined();
}

static void compare_repeats(const BarContext *c, const Bar *bar, float *features) {
    static const int32_t DISTANCES[4] = {1, 2, 4, 8};
    for (int32_t i = REPEAT_1; i <= REPEAT_NEW; i++) features[i] = undefined();
    if (!bar->key_count) return;
    for (int32_t i = 0; i < 4; i++)
        if (DISTANCES[i] <= c->count)
            features[REPEAT_1 + i] = equal_share(bar, previous_bar(c, DISTANCES[i]));
    for (int32_t distance = 1; distance <= least(c->count, CONTEXT_RING); distance++) {
        if (!previous_bar(c, distance)->key_count) continue;
        const float found = equal_share(bar, previous_bar(c, distance));
        if (!(features[REPEAT] >= found)) features[REPEAT] = found;
        if (distance <= c->added && !(features[REPEAT_NEW] >= found)) features[REPEAT_NEW] = found;
    }
}

static void compare_melody(const BarContext *c, const Bar *bar, float *features) {
    const Bar *previous = c->count ? previous_bar(c, 1) : NULL;
    const int32_t first = bar->top[0] == NONE ? bar->top[1] : bar->top[0];
    const int32_t second = bar->top[1] == NONE ? bar->top[0] : bar->top[1];
    features[TOP_LINE] = features[TOP_STEP] = undefined();
    if (first != NONE && c->prompt.twice_median_top != NONE)
        features[TOP_LINE] = HALF * (float)(first + second - c->prompt.twice_median_top);
    const int32_t before = !previous ? NONE
        : previous->top[1] == NONE ? previous->top[0] : previous->top[1];
    if (first != NONE && before != NONE) features[TOP_STEP] = magnitude((float)(first - before));
}

int32_t bar_context_features(BarContext *c, const TokenTable *table, const int32_t *ids,
                             int64_t count, const float *log_probs, float *features) {
    const int32_t error = check_ids(table, ids, count);
    Bar *bar = &c->candidate;
    const PromptStats *p = &c->prompt;
    if (error) return error;
    read_bar(bar, table, ids, count);
    compare_new_bars(c, bar, features);
    compare_bar(c, bar, features);
    compare_parts(c, bar, features);
    compare_repeats(c, bar, features);
    compare_melody(c, bar, features);
    features[CLASHES] = bar->pairs <= 3 ? undefined()
        : (float)bar->clashes / (float)bar->pairs
            - (float)p->clashes / (float)(p->pairs > 1 ? p->pairs : 1);
    const float longest = (float)bar->longest / (float)bar->length;
    const bool ends_phrase = c->added % 4 == 3;
    features[PHRASE_END_NOTE] = bar->pitched && ends_phrase ? longest : undefined();
    features[LONGEST_NOTE] = bar->pitched && !ends_phrase ? longest : undefined();
    features[LOG_PROB] = bar->note_count ? sum_of(log_probs, (int32_t)count) / (float)bar->note_count
                                   : undefined();
    return CORE_OK;
}

float bar_score(const BarScoreModel *model, const float *features) {
    float score = 0;
    for (int32_t i = 0; i < BAR_FEATURES; i++) {
        int32_t bin = 0;
        if (features[i] != features[i]) continue;
        while (bin < FEATURE_BINS - 1 && features[i] >= model->edges[i][bin]) bin++;
        score += model->weights[i] * features[i] + model->log_odds[i][bin];
    }
    return score;
}
