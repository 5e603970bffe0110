/* Prompts: the compiled form of Pipeline._read in generation/pipeline.py, and of what it calls. */
#include "prompt.h"

enum {
    MAX_TICKS_PER_QUARTER = 32767, /* of a MIDI file */
    DEFAULT_MSPQ = 500000,
    LINES = CONTEXT_BARS + 1,
};

/* Meters --------------------------------------------------------------------------------------- */

/* Whether a tick is less than the slack from a bar line after a change of meter. */
static bool is_on_bar_line(int64_t tick, ScoreMeter change, int64_t ticks_per_quarter) {
    const int64_t below = change.denominator;
    const int64_t length = remi_most(4 * ticks_per_quarter * change.numerator, below);
    const int64_t rest = (tick - change.tick) * below % length;
    return remi_least(rest, length - rest) < meter_slack(ticks_per_quarter) * below;
}

/* Writes the time signatures that begin a bar, as meter_changes in midi/analysis.py: by time, the
 * first at tick 0; returns how many there are. */
static int64_t meter_changes(const Score *score, SortItem *items, SortItem *scratch,
                             ScoreMeter *changes) {
    int64_t valid = 0, found = 1;
    for (int32_t i = 0; i < score->meter_count; i++)
        if (score->meters[i].numerator > 0 && score->meters[i].denominator > 0)
            items[valid++] = (SortItem){score->meters[i].tick, i, 0};
    remi_sort(items, scratch, valid);
    changes[0] = (ScoreMeter){0, 4, 4};
    for (int64_t i = 0; i < valid; i++) {
        if (i + 1 < valid && items[i + 1].key == items[i].key) continue; /* the last one counts */
        ScoreMeter meter = score->meters[items[i].first], last = changes[found - 1];
        bool is_equal = meter.numerator == last.numerator && meter.denominator == last.denominator;
        if (meter.tick == 0) changes[0] = meter;
        else if (!is_equal || !is_on_bar_line(meter.tick, last, score->ticks_per_quarter))
            changes[found++] = meter;
    }
    return found;
}

static ScoreMeter meter_at(const ScoreMeter *changes, int64_t count, int64_t tick) {
    while (count > 1 && changes[count - 1].tick > tick) count--;
    return changes[count - 1];
}

/* Returns the meter of music that continues a score, as next_meter in midi/analysis.py. */
static ScoreMeter next_meter(const ScoreMeter *changes, int64_t count, int64_t end,
                             int64_t ticks_per_quarter) {
    while (count > 1 && changes[count - 1].tick > end) count--;
    const ScoreMeter last = changes[count - 1];
    if (count < 3 || last.tick == end) return last;
    const ScoreMeter before = changes[count - 2];
    const int64_t whole = 4 * ticks_per_quarter, length = whole * last.numerator;
    const bool is_single = (end - last.tick) * last.denominator <= length;
    const int64_t pickup = changes[1].tick;
    const int64_t both = (pickup * last.denominator + length) * before.denominator;
    return is_single && both == whole * before.numerator * last.denominator ? before : last;
}

/* Scores --------------------------------------------------------------------------------------- */

static int32_t greatest_divisor(int32_t a, int32_t b) {
    while (b) {
        int32_t rest = a % b;
        a = b, b = rest;
    }
    return a;
}

/* Returns the factor that makes ticks per quarter a multiple of 48; 1 if no MIDI file could have so
 * many. */
static int32_t scale_of(const Score *score) {
    int64_t factor = 48 / greatest_divisor(score->ticks_per_quarter, 48);
    return score->ticks_per_quarter * factor > MAX_TICKS_PER_QUARTER ? 1 : (int32_t)factor;
}

static int32_t check_prompt(const TokenTable *table, const Score *score, int32_t end_tick) {
    int32_t error = remi_check_table(table);
    if (!error) error = remi_check_score(score);
    if (error) return error;
    const int64_t latest = INT32_MAX / scale_of(score);
    if (!within(end_tick, 0, (int32_t)latest)) return CORE_BAD_TICK;
    for (int32_t i = 0; i < score->note_count; i++) {
        const ScoreNote *note = &score->notes[i];
        if (!within(note->velocity, 1, 127)) return CORE_BAD_PITCH;
        if (note->duration < 1) return CORE_BAD_TICK;
        if ((int64_t)note->tick + note->duration > latest) return CORE_BAD_TICK;
    }
    for (int32_t i = 0; i < score->tempo_count; i++)
        if (score->tempos[i].tick > latest) return CORE_BAD_TICK;
    for (int32_t i = 0; i < score->meter_count; i++)
        if (score->meters[i].tick > latest) return CORE_BAD_TICK;
    return CORE_OK;
}

static int64_t last_note_end(const Score *score) {
    int64_t end = 0;
    for (int32_t i = 0; i < score->note_count; i++)
        end = remi_most(end, (int64_t)score->notes[i].tick + score->notes[i].duration);
    return end;
}

/* A tick of the last bar: notes that are held a little beyond a bar line add no bar. */
static int64_t last_bar_tick(const Score *score) {
    const int64_t slack = score->ticks_per_quarter / 24;
    int64_t end = 0;
    for (int32_t i = 0; i < score->note_count; i++) {
        const int64_t onset = score->notes[i].tick;
        end = remi_most(end, remi_most(onset + 1, onset + score->notes[i].duration - slack));
    }
    return end;
}

/* Returns memory for a copy of a score; one tempo and one meter may be added. */
static Score empty_copy(const Score *score, char **memory) {
    Score copy = *score;
    copy.programs = remi_take(memory, score->tracks * (int64_t)sizeof *copy.programs);
    copy.notes = remi_take(memory, score->note_count * (int64_t)sizeof *copy.notes);
    copy.tempos = remi_take(memory, (score->tempo_count + 1) * (int64_t)sizeof *copy.tempos);
    copy.meters = remi_take(memory, (score->meter_count + 1) * (int64_t)sizeof *copy.meters);
    copy.note_count = copy.tempo_count = copy.meter_count = 0;
    return copy;
}

static int64_t copy_bytes(const Score *score) {
    return score->tracks * (int64_t)sizeof(int32_t)
         + score->note_count * (int64_t)sizeof(ScoreNote)
         + (score->tempo_count + 1) * (int64_t)sizeof(ScoreTempo)
         + (score->meter_count + 1) * (int64_t)sizeof(ScoreMeter) + 4 * REMI_ALIGNMENT;
}

/* Copies the events before tick `end`, with other ticks per quarter and with the programs that the
 * network knows. Notes are shortened to the end. */
static Score scaled(const Score *score, const int32_t *substitutes, int32_t scale, int32_t end,
                    char **memory) {
    Score copy = empty_copy(score, memory);
    copy.ticks_per_quarter *= scale;
    for (int32_t i = 0; i < score->tracks; i++) {
        int32_t program = score->programs[i];
        int32_t substitute = substitutes ? substitutes[index_of(program)] : UNMAPPED;
        copy.programs[i] = within(substitute, DRUMS, PROGRAMS - 2) ? substitute : program;
    }
    for (int32_t i = 0; i < score->note_count; i++) {
        ScoreNote note = score->notes[i];
        if (note.tick >= end) continue;
        note.duration = (int32_t)remi_least(note.duration, end - note.tick) * scale;
        note.tick *= scale;
        copy.notes[copy.note_count++] = note;
    }
    for (int32_t i = 0; i < score->tempo_count; i++) {
        ScoreTempo tempo = score->tempos[i];
        if (tempo.tick >= end) continue;
        tempo.tick *= scale;
        copy.tempos[copy.tempo_count++] = tempo;
    }
    for (int32_t i = 0; i < score->meter_count; i++) {
        ScoreMeter meter = score->meters[i];
        if (meter.tick >= end) continue;
        meter.tick *= scale;
        copy.meters[copy.meter_count++] = meter;
    }
    return copy;
}

/* Returns the tempo at a tick; the last one of several at a tick counts. */
static int32_t mspq_at(const Score *score, int32_t tick) {
    int32_t found = DEFAULT_MSPQ, latest = 0;
    for (int32_t i = 0; i < score->tempo_count; i++) {
        const ScoreTempo *tempo = &score->tempos[i];
        if (tempo->tick < latest || tempo->tick > tick || tempo->mspq <= 0) continue;
        found = tempo->mspq, latest = tempo->tick;
    }
    return found;
}

/* Returns the notes of [start, end) moved to 0, with tempos and meters. */
static Score slice(const Score *score, ScoreMeter meter, int32_t start, int32_t end,
                   char **memory) {
    Score part = empty_copy(score, memory);
    memcpy(part.programs, score->programs, (size_t)score->tracks * sizeof *part.programs);
    part.tempos[part.tempo_count++] = (ScoreTempo){0, mspq_at(score, start)};
    part.meters[part.meter_count++] = (ScoreMeter){0, meter.numerator, meter.denominator};
    for (int32_t i = 0; i < score->tempo_count; i++) {
        ScoreTempo tempo = score->tempos[i];
        if (tempo.tick <= start || tempo.tick >= end) continue;
        part.tempos[part.tempo_count++] = (ScoreTempo){tempo.tick - start, tempo.mspq};
    }
    for (int32_t i = 0; i < score->meter_count; i++) {
        ScoreMeter own = score->meters[i];
        if (own.tick <= start || own.tick >= end) continue;
        own.tick -= start;
        part.meters[part.meter_count++] = own;
    }
    for (int32_t i = 0; i < score->note_count; i++) {
        ScoreNote note = score->notes[i];
        if (note.tick < start || note.tick >= end) continue;
        note.duration = (int32_t)remi_least(note.duration, end - note.tick);
        note.tick -= start;
        part.notes[part.note_count++] = note;
    }
    return part;
}

/* Ids ------------------------------------------------------------------------------------------ */

/* Most ids of a part of a score. A note needs at most 4, and 7 for empty blocks of other parts. */
static int64_t most_ids(const Score *score, int64_t end) {
    const int64_t shortest_bars = 2 * (end / score->ticks_per_quarter) + 64 /* of 1/8 */
                                + 2 * (int64_t)score->meter_count; /* shortened */
    return 11 * (int64_t)score->note_count + 2 * ((int64_t)score->tempo_count + 2)
         + 2 * (shortest_bars + CONTEXT_BARS);
}

/* Makes ids have exactly `bars` bars: the last ones, or padded with empty bars. Empty bars at the
 * end are removed first, because remi_encode adds one after a note that ends on a bar line.
 * Returns the number of ids, and moves `ids` to the first. */
static int64_t pad_or_trim_bars(const TokenTable *table, int32_t **ids, int64_t count, int32_t bars,
                                int32_t meter) {
    int64_t found = 0, first = count;
    for (int64_t i = 0; i < count; i++) found += (*ids)[i] == table->bar;
    for (; found > bars && count >= 2 && (*ids)[count - 2] == table->bar; found--) count -= 2;
    for (; found < bars; found++) (*ids)[count++] = table->bar, (*ids)[count++] = meter;
    for (int64_t i = count, seen = 0; i > 0 && seen < bars; i--)
        if ((*ids)[i - 1] == table->bar) first = i - 1, seen++;
    *ids += first;
    return count - first;
}

/* Returns the index of the first id to read: the last whole bars, or the end of a longer bar. */
static int64_t context_start(const TokenTable *table, const int32_t *ids, int64_t count) {
    const int64_t first = remi_most(0, count - CONTEXT_TOKENS);
    for (int64_t i = first; i < count; i++)
        if (ids[i] == table->bar) return i;
    return first;
}

/* Reading -------------------------------------------------------------------------------------- */

/* Counts bars to the end, and finds the first and the last bar line to read. */
static int32_t find_bars(Prompt *prompt, BarLines lines, int64_t end) {
    int64_t last[LINES] = {0};
    for (prompt->bars = 0; lines.line < end; last[prompt->bars % LINES] = lines.line) {
        if (++prompt->bars > MAX_BAR_LINES) return CORE_BAD_TICK;
        move_to_next_line(&lines);
    }
    int32_t read = (int32_t)remi_least(prompt->bars, CONTEXT_BARS);
    if (lines.line > INT32_MAX) return CORE_BAD_TICK;
    prompt->end_tick = (int32_t)lines.line;
    prompt->start_tick = (int32_t)last[(prompt->bars - read) % LINES];
    return CORE_OK;
}

/* Encodes the bars to read, and orders their parts. */
static int32_t read_ids(Prompt *prompt, const TokenTable *table, const Score *context, int32_t bos,
                        int64_t most, char *memory) {
    const int32_t usual = remi_time_signature(table, 4, 4);
    int32_t *ids = remi_take(&memory, most * (int64_t)sizeof *ids);
    const int32_t bars = (int32_t)remi_least(prompt->bars, CONTEXT_BARS);
    prompt->part_count = remi_order_parts(table, context, prompt->part_of_track, memory);
    if (prompt->part_count < 0) return prompt->part_count;
    int64_t count = remi_encode(table, context, prompt->part_of_track, ids, most, memory);
    if (count < 0) return (int32_t)count;
    if (count > most - 2 * CONTEXT_BARS) return CORE_BAD_LENGTH;
    int32_t meter = prompt->meter == NONE ? usual : prompt->meter;
    count = pad_or_trim_bars(table, &ids, count, bars, meter);
    const int64_t first = context_start(table, ids, count);
    prompt->ids[0] = bos;
    memcpy(prompt->ids + 1, ids + first, (size_t)(count - first) * sizeof *ids);
    prompt->id_count = (int32_t)(count - first) + 1;
    return CORE_OK;
}

int64_t prompt_scratch_bytes(const Score *score, int32_t end_tick) {
    if (!remi_counts_fit(score)) return CORE_BAD_LENGTH;
    Score larger = *score;
    larger.tempo_count++, larger.meter_count++;
    const int64_t end = remi_most(end_tick, last_note_end(score));
    const int64_t events = remi_most(score->note_count, score->meter_count);
    if (end / score->ticks_per_quarter > MAX_BAR_LINES) return CORE_BAD_TICK;
    return 2 * copy_bytes(score) + most_ids(score, end) * (int64_t)sizeof(int32_t)
         + 2 * events * (int64_t)sizeof(SortItem)
         + larger.meter_count * (int64_t)sizeof(ScoreMeter) + remi_scratch_bytes(&larger)
         + 4 * REMI_ALIGNMENT;
}

int32_t prompt_read(const TokenTable *table, const Score *score, const int32_t *substitutes,
                    int32_t end_tick, int32_t bos, Prompt *prompt, char *scratch) {
    int32_t error = check_prompt(table, score, end_tick);
    if (error) return error;
    const int64_t events = remi_most(score->note_count, score->meter_count);
    SortItem *items = remi_take(&scratch, events * (int64_t)sizeof *items);
    SortItem *other = remi_take(&scratch, events * (int64_t)sizeof *other);
    ScoreMeter *changes = remi_take(&scratch, (score->meter_count + 1) * (int64_t)sizeof *changes);
    const int64_t most = most_ids(score, remi_most(end_tick, last_note_end(score)));
    const int32_t scale = prompt->scale = scale_of(score), cut = end_tick ? end_tick : INT32_MAX;
    prompt->track_count = 0;
    const Score whole = scaled(score, substitutes, scale, cut, &scratch);
    const int64_t quarter = whole.ticks_per_quarter;
    if (!whole.note_count) return CORE_BAD_LENGTH;
    const int64_t count = meter_changes(&whole, items, other, changes);
    const BarLines lines = {.changes = changes, .count = count, .ticks_per_quarter = quarter};
    error = find_bars(prompt, lines, end_tick ? end_tick * scale : last_bar_tick(&whole));
    if (error) return error;
    ScoreMeter last = next_meter(changes, count, prompt->end_tick, quarter);
    ScoreMeter first = meter_at(changes, count, prompt->start_tick);
    prompt->meter = remi_time_signature(table, last.numerator, last.denominator);
    char *memory = scratch;
    const Score context = slice(&whole, first, prompt->start_tick, prompt->end_tick, &memory);
    error = read_ids(prompt, table, &context, bos, most, memory);
    if (error) return error;
    prompt_describe(prompt, &whole, lines, items, other, scratch);
    return CORE_OK;
}

