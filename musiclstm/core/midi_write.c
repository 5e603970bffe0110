/* Writes a score as a MIDI file. */
#include "midi_file.h"

enum {
    MELODIC_CHANNELS = CHANNELS_PER_PORT - 1,
    /* Simultaneous events are written in this order. */
    TEXT_ITEM = 0, METER_ITEM, KEY_ITEM, TEMPO_ITEM, OFF_ITEM, CONTROL_ITEM, ON_ITEM,
};

typedef struct {
    const MidiFile *file;
    const uint8_t *texts;
    uint8_t *out;
    int64_t capacity, size, tick;
    SortItem *items, *others;
    int64_t count; /* of items */
    int32_t *channels; /* (voices): port * 16 + channel */
    int32_t *groups;   /* (voices): first voice that shares its channel */
    int32_t *notes, *controls; /* (voices + 1): index of the first one of each voice */
} Writer;

/* Bytes ---------------------------------------------------------------------------------------- */

static void put(Writer *w, int32_t byte) {
    if (w->size < w->capacity) w->out[w->size] = (uint8_t)byte;
    w->size++;
}

static void put_number(Writer *w, int64_t value, int bytes) {
    while (bytes--) put(w, (int32_t)(value >> 8 * bytes & 0xFF));
}

static void put_quantity(Writer *w, int64_t value) {
    for (int shift = 21; shift; shift -= 7)
        if (value >> shift) put(w, (int32_t)(value >> shift & 0x7F) | 0x80);
    put(w, (int32_t)value & 0x7F);
}

static void put_name(Writer *w, const char *name) {
    while (*name) put(w, *name++);
}

static void put_time(Writer *w, int64_t tick) {
    put_quantity(w, tick - w->tick);
    w->tick = tick;
}

static void put_meta(Writer *w, int64_t tick, int32_t type, int64_t value, int bytes) {
    put_time(w, tick);
    put(w, 0xFF), put(w, type), put(w, bytes);
    put_number(w, value, bytes);
}

static void put_message(Writer *w, int64_t tick, int32_t status, int32_t first, int32_t second) {
    put_time(w, tick);
    put(w, status), put(w, first);
    if ((status & 0xF0) != PROGRAM_CHANGE) put(w, second);
}

static void put_text(Writer *w, const MidiText *text) {
    put_time(w, text->tick);
    put(w, 0xFF), put(w, text->type), put_quantity(w, text->length);
    for (int32_t i = 0; i < text->length; i++) put(w, w->texts[text->offset + i]);
}

/* Channels ------------------------------------------------------------------------------------- */

static bool have_equal_controls(const Writer *w, int32_t a, int32_t b) {
    const MidiControl *x = w->file->controls + w->controls[a];
    const MidiControl *y = w->file->controls + w->controls[b];
    const int32_t count = w->controls[a + 1] - w->controls[a];
    if (w->controls[b + 1] - w->controls[b] != count) return false;
    for (int32_t i = 0; i < count; i++)
        if (x[i].tick != y[i].tick || x[i].status != y[i].status || x[i].first != y[i].first
            || x[i].second != y[i].second)
            return false;
    return true;
}

/* Whether two voices sound the same on one channel. */
static bool can_share(const Writer *w, int32_t a, int32_t b) {
    const MidiVoice *x = &w->file->voices[a], *y = &w->file->voices[b];
    return x->is_drum == y->is_drum && x->program == y->program
        && (x->is_drum || x->bank == y->bank) && have_equal_controls(w, a, b);
}

static int32_t find_group(const Writer *w, int32_t voice) {
    for (int32_t i = 0; i < voice; i++)
        if (w->groups[i] == i && can_share(w, i, voice)) return i;
    return voice;
}

static void assign_channels(Writer *w) {
    const MidiFile *file = w->file;
    int32_t melodic = 0, drums = 0, melodic_voices = 0;
    for (int32_t i = 0; i < file->voice_count; i++) melodic_voices += !file->voices[i].is_drum;
    for (int32_t i = 0; i < file->voice_count; i++) {
        const bool is_drum = file->voices[i].is_drum;
        const bool shares = is_drum || melodic_voices > MELODIC_CHANNELS;
        w->groups[i] = shares ? find_group(w, i) : i;
        if (w->groups[i] != i) {
            w->channels[i] = w->channels[w->groups[i]];
        } else if (is_drum) {
            w->channels[i] = drums++ * CHANNELS_PER_PORT + DRUM_CHANNEL;
        } else {
            const int32_t at = melodic % MELODIC_CHANNELS;
            w->channels[i] = melodic++ / MELODIC_CHANNELS * CHANNELS_PER_PORT + at + (at >= DRUM_CHANNEL);
        }
    }
}

/* Chunks --------------------------------------------------------------------------------------- */

static void add_item(Writer *w, int32_t tick, int64_t order, int64_t detail, int32_t index) {
    w->items[w->count++] = (SortItem){(int64_t)tick << 35 | order << 32 | detail, index, 0};
}

static void add_texts(Writer *w, int32_t track) {
    for (int32_t i = 0; i < w->file->text_count; i++)
        if (w->file->texts[i].track == track) add_item(w, w->file->texts[i].tick, TEXT_ITEM, 0, i);
}

static void add_voice(Writer *w, int32_t voice) {
    for (int32_t i = w->notes[voice]; i < w->notes[voice + 1]; i++) {
        const ScoreNote *note = &w->file->notes[i];
        add_item(w, note->tick + note->duration, OFF_ITEM, note->pitch, i);
        /* the longest note of a key first */
        add_item(w, note->tick, ON_ITEM,
                 (int64_t)note->pitch << 24 | (0xFFFFFF - remi_least(note->duration, 0xFFFFFF)), i);
    }
    if (w->groups[voice] != voice) return;
    for (int32_t i = w->controls[voice]; i < w->controls[voice + 1]; i++)
        add_item(w, w->file->controls[i].tick, CONTROL_ITEM, i, i);
}

static void put_note_on(Writer *w, const ScoreNote *note, int32_t index, int32_t channel,
                        int32_t *open) {
    const int32_t before = open[note->pitch];
    if (before != NONE) {
        if (w->file->notes[before].tick == note->tick) return;
        put_message(w, note->tick, NOTE_OFF_EVENT | channel, note->pitch, 64);
    }
    put_message(w, note->tick, NOTE_ON_EVENT | channel, note->pitch, note->velocity);
    open[note->pitch] = index;
}

static void put_item(Writer *w, const SortItem *item, int32_t channel, int32_t *open) {
    const MidiFile *file = w->file;
    const int32_t i = item->first;
    const MidiControl *control = &file->controls[i];
    const ScoreMeter *meter = &file->meters[i];
    int32_t power = 0;
    switch (item->key >> 32 & 7) {
    case TEXT_ITEM:
        put_text(w, &file->texts[i]);
        break;
    case METER_ITEM:
        while (meter->denominator >> (power + 1)) power++;
        put_meta(w, meter->tick, TIME_SIGNATURE_EVENT, (int64_t)meter->numerator << 24 | power << 16 | 24 << 8 | 8, 4);
        break;
    case KEY_ITEM:
        put_meta(w, file->keys[i].tick, KEY_SIGNATURE, (file->keys[i].fifths & 0xFF) << 8 | file->keys[i].minor, 2);
        break;
    case TEMPO_ITEM:
        put_meta(w, file->tempos[i].tick, SET_TEMPO, file->tempos[i].mspq, 3);
        break;
    case OFF_ITEM:
        if (open[file->notes[i].pitch] != i) break; /* ended already */
        open[file->notes[i].pitch] = NONE;
        put_message(w, item->key >> 35, NOTE_OFF_EVENT | channel, file->notes[i].pitch, 64);
        break;
    case CONTROL_ITEM:
        put_message(w, control->tick, control->status | channel, control->first, control->second);
        break;
    default:
        put_note_on(w, &file->notes[i], i, channel, open);
    }
}

static void put_program(Writer *w, const MidiVoice *voice, int32_t channel) {
    if (voice->bank && !voice->is_drum) {
        put_message(w, 0, CONTROL_CHANGE | channel, BANK, voice->bank >> 7);
        put_message(w, 0, CONTROL_CHANGE | channel, BANK_LOW, voice->bank & 0x7F);
    }
    put_message(w, 0, PROGRAM_CHANGE | channel, voice->program, 0);
}

/* Writes a chunk from its items. voice: NONE for the first chunk. */
static void put_chunk(Writer *w, int32_t voice, int32_t end_tick) {
    const int64_t head = w->size;
    int32_t open[PITCHES], ports = 0;
    int32_t channel = voice == NONE ? 0 : w->channels[voice];
    for (int32_t i = 0; i < PITCHES; i++) open[i] = NONE;
    for (int32_t i = 0; i < w->file->voice_count; i++) ports |= w->channels[i] / CHANNELS_PER_PORT;
    put_name(w, "MTrk"), put_number(w, 0, 4);
    w->tick = 0;
    remi_sort(w->items, w->others, w->count);
    int64_t i = 0;
    for (; i < w->count && w->items[i].key >> 32 == TEXT_ITEM; i++) put_item(w, &w->items[i], 0, open);
    if (voice != NONE) {
        if (ports) put_meta(w, 0, PORT, channel / CHANNELS_PER_PORT, 1);
        channel %= CHANNELS_PER_PORT;
        if (w->groups[voice] == voice) put_program(w, &w->file->voices[voice], channel);
    }
    for (; i < w->count; i++) put_item(w, &w->items[i], channel, open);
    put_meta(w, remi_most(end_tick, w->tick), END_OF_TRACK, 0, 0);
    const int64_t end = w->size;
    w->size = head + 4;
    put_number(w, end - head - 8, 4);
    w->size = end, w->count = 0;
}

/* Checks --------------------------------------------------------------------------------------- */

static bool is_tick(int64_t tick) { return tick >= 0 && tick <= MAX_TICK; }

static int32_t check_notes(const MidiFile *file) {
    for (int32_t i = 0; i < file->note_count; i++) {
        const ScoreNote *note = &file->notes[i];
        if (note->duration < 1 || !is_tick(note->tick) || !is_tick((int64_t)note->tick + note->duration))
            return CORE_BAD_TICK;
        if (!within(note->pitch, 0, 127) || !within(note->velocity, 1, 127)) return CORE_BAD_PITCH;
        if (!within(note->track, i ? note[-1].track : 0, file->voice_count - 1)) return CORE_BAD_TRACK;
    }
    for (int32_t i = 0; i < file->control_count; i++) {
        const MidiControl *control = &file->controls[i];
        const int32_t status = control->status;
        if (!is_tick(control->tick)) return CORE_BAD_TICK;
        if (!within(control->channel, i ? control[-1].channel : 0, file->voice_count - 1))
            return CORE_BAD_TRACK;
        if (status != CONTROL_CHANGE && status != PITCH_BEND) return CORE_BAD_KIND;
        if (!within(control->first, 0, 127) || !within(control->second, 0, 127))
            return CORE_BAD_KIND;
    }
    return CORE_OK;
}

static int32_t check_times(const MidiFile *file) {
    for (int32_t i = 0; i < file->tempo_count; i++) {
        if (!is_tick(file->tempos[i].tick)) return CORE_BAD_TICK;
        if (!within(file->tempos[i].mspq, 1, 0xFFFFFF)) return CORE_BAD_DIVISION;
    }
    for (int32_t i = 0; i < file->meter_count; i++) {
        const ScoreMeter *meter = &file->meters[i];
        if (!is_tick(meter->tick)) return CORE_BAD_TICK;
        if (!within(meter->numerator, 1, 255) || !within(meter->denominator, 1, 128))
            return CORE_BAD_METER;
    }
    for (int32_t i = 0; i < file->key_count; i++) {
        const MidiKey *key = &file->keys[i];
        if (!is_tick(key->tick)) return CORE_BAD_TICK;
        if (!within(key->fifths, -7, 7) || !within(key->minor, 0, 1)) return CORE_BAD_KIND;
    }
    return CORE_OK;
}

static int32_t check_file(const MidiFile *file, int64_t text_bytes) {
    for (int32_t i = 0; i < file->voice_count; i++)
        if (!within(file->voices[i].program, 0, 127) || !within(file->voices[i].bank, 0, 16383))
            return CORE_BAD_PROGRAM;
    for (int32_t i = 0; i < file->text_count; i++) {
        const MidiText *text = &file->texts[i];
        if (!is_tick(text->tick)) return CORE_BAD_TICK;
        if (text->offset < 0 || text->length < 0 || text->length > MAX_TICK
            || (int64_t)text->offset + text->length > text_bytes || !within(text->type, 1, 7))
            return CORE_BAD_LENGTH;
    }
    const int32_t error = check_notes(file);
    return error ? error : check_times(file);
}

static int64_t most_items(const MidiFile *file) {
    return 2 * (int64_t)file->note_count + file->control_count + file->tempo_count
         + file->meter_count + file->key_count + file->text_count;
}

int64_t midi_write_scratch_bytes(const MidiFile *file) {
    const int32_t counts[] = {file->note_count, file->control_count, file->tempo_count,
                              file->meter_count, file->key_count, file->text_count};
    for (int i = 0; i < 6; i++)
        if (!within(counts[i], 0, MAX_SCORE_EVENTS)) return CORE_BAD_LENGTH;
    if (!within(file->voice_count, 0, MAX_MIDI_VOICES)) return CORE_BAD_LENGTH;
    if (!within(file->ticks_per_quarter, 1, 32767)) return CORE_BAD_DIVISION;
    return 2 * (int64_t)sizeof(SortItem) * most_items(file) + 16 * (int64_t)file->voice_count + 128;
}

static void find_voices(Writer *w) {
    const MidiFile *file = w->file;
    int32_t note = 0, control = 0;
    for (int32_t voice = 0; voice <= file->voice_count; voice++) {
        while (note < file->note_count && file->notes[note].track < voice) note++;
        while (control < file->control_count && file->controls[control].channel < voice) control++;
        w->notes[voice] = note, w->controls[voice] = control;
    }
}

int64_t midi_write(const MidiFile *file, int32_t end_tick, const uint8_t *texts, int64_t text_bytes,
                   uint8_t *out, int64_t capacity, char *scratch) {
    const int64_t bytes = midi_write_scratch_bytes(file);
    if (bytes < 0) return bytes;
    const int32_t error = check_file(file, text_bytes);
    if (error || !is_tick(end_tick)) return error ? error : CORE_BAD_TICK;
    Writer w = {.file = file, .texts = texts, .out = out, .capacity = capacity};
    const int64_t most = most_items(file) * (int64_t)sizeof *w.items;
    w.items = remi_take(&scratch, most), w.others = remi_take(&scratch, most);
    w.channels = remi_take(&scratch, 4 * (int64_t)file->voice_count);
    w.groups = remi_take(&scratch, 4 * (int64_t)file->voice_count);
    w.notes = remi_take(&scratch, 4 * (int64_t)file->voice_count + 4);
    w.controls = remi_take(&scratch, 4 * (int64_t)file->voice_count + 4);
    find_voices(&w);
    assign_channels(&w);
    put_name(&w, "MThd"), put_number(&w, 6, 4), put_number(&w, 1, 2);
    put_number(&w, file->voice_count + 1, 2), put_number(&w, file->ticks_per_quarter, 2);
    add_texts(&w, 0);
    for (int32_t i = 0; i < file->meter_count; i++) add_item(&w, file->meters[i].tick, METER_ITEM, i, i);
    for (int32_t i = 0; i < file->key_count; i++) add_item(&w, file->keys[i].tick, KEY_ITEM, i, i);
    for (int32_t i = 0; i < file->tempo_count; i++) add_item(&w, file->tempos[i].tick, TEMPO_ITEM, i, i);
    put_chunk(&w, NONE, end_tick);
    for (int32_t voice = 0; voice < file->voice_count; voice++) {
        add_texts(&w, voice + 1);
        add_voice(&w, voice);
        put_chunk(&w, voice, end_tick);
    }
    return w.size;
}
