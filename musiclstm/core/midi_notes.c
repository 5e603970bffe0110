/* Notes of a MIDI file: their ends, and the program and bank that their channel has at the time. */
#include "midi_file.h"

enum { GM2_DRUMS = 120, GM2_MELODY = 121, XG_EFFECTS = 126, XG_DRUMS = 127, HASH_SIZE = 4096,
       SOUND_OFF = 120, NOTES_OFF = 123, PEDAL_DOWN = 64, BEND = PITCHES /* after the controllers */ };

/* Ends of notes -------------------------------------------------------------------------------- */

static int32_t key_of(const Event *event) {
    return event->channel % CHANNELS_PER_PORT * PITCHES + event->first;
}

/* Whether an event stops all notes of its channel; messages of mode, from 124 on, do so too. */
static bool ends_all(const Event *event) {
    return event->status == CONTROL_CHANGE && (event->first == SOUND_OFF || event->first >= NOTES_OFF);
}

static void fill_channel(int32_t *values, const Event *event, int32_t value) {
    int32_t *first = values + event->channel % CHANNELS_PER_PORT * PITCHES;
    for (int32_t i = 0; i < PITCHES; i++) first[i] = value;
}

static void fill(int32_t *values, int32_t value) {
    for (int32_t i = 0; i < KEYS; i++) values[i] = value;
}

/* Marks the note-ons without an end: those that stay open if each note-off ends the latest one. */
static void mark_endless(Event *events, int64_t count, int32_t *links, int32_t *open) {
    fill(open, NONE);
    for (int32_t i = 0; i < count; i++) {
        int32_t *top = &open[key_of(&events[i])];
        if (ends_all(&events[i])) fill_channel(open, &events[i], NONE);
        else if (events[i].status == NOTE_ON_EVENT) links[i] = *top, *top = i;
        else if (events[i].status == NOTE_OFF_EVENT && *top != NONE) *top = links[*top];
    }
    for (int32_t key = 0; key < KEYS; key++)
        for (int32_t i = open[key]; i != NONE; i = links[i]) events[i].length = DROPPED;
}

static void end_channel(Event *events, const Event *stop, const int32_t *links, int32_t *first) {
    const int32_t begin = stop->channel % CHANNELS_PER_PORT * PITCHES;
    for (int32_t key = begin; key < begin + PITCHES; key++)
        for (int32_t i = first[key]; i != NONE; i = links[i]) events[i].length = stop->tick - events[i].tick;
    fill_channel(first, stop, NONE);
}

/* Each note-off ends the first of the open notes of its key; one tick later if the pedal was pressed
 * before it at the same tick. */
static void end_notes(MidiFile *file, Event *events, int64_t count, int32_t *links, int32_t *first,
                      int32_t *last) {
    int32_t pressed[CHANNELS_PER_PORT]; /* tick of the latest press; -1: lifted */
    for (int i = 0; i < CHANNELS_PER_PORT; i++) pressed[i] = -1;
    fill(first, NONE);
    for (int32_t i = 0; i < count; i++) {
        Event *event = &events[i];
        const int32_t key = key_of(event);
        int32_t *press = &pressed[event->channel % CHANNELS_PER_PORT];
        if (event->status == CONTROL_CHANGE && event->first == SUSTAIN) {
            if (event->second < PEDAL_DOWN) *press = -1;
            else if (*press < 0) *press = event->tick;
        } else if (ends_all(event)) {
            end_channel(events, event, links, first);
        } else if (event->status == NOTE_ON_EVENT && event->length != DROPPED) {
            if (first[key] == NONE) first[key] = i;
            else links[last[key]] = i;
            links[i] = NONE, last[key] = i;
        } else if (event->status == NOTE_OFF_EVENT && first[key] != NONE) {
            Event *note = &events[first[key]];
            note->length = event->tick - note->tick;
            if (*press == event->tick && note->length) note->length++, file->pedalled_ends++;
            first[key] = links[first[key]];
        } else if (event->status == NOTE_OFF_EVENT) {
            event->is_open = true;
        }
    }
}

static int32_t shortest_note(const MidiFile *file) {
    return file->ticks_per_quarter < 24 ? 1 : file->ticks_per_quarter / 12;
}

/* A note without an end lasts to the next onset of its key, at most a bar of 4/4. */
static void end_endless(MidiFile *file, Event *events, int64_t count, int32_t end, int32_t *next) {
    fill(next, NONE);
    for (int32_t i = (int32_t)count - 1; i >= 0; i--) {
        if (events[i].status != NOTE_ON_EVENT) continue;
        int32_t *following = &next[key_of(&events[i])];
        if (events[i].length == DROPPED) {
            file->endless_notes++;
            events[i].is_open = true;
            const Event *after = *following == NONE ? NULL : &events[*following];
            int64_t stop = remi_least(end, events[i].tick + 4 * (int64_t)file->ticks_per_quarter);
            if (after && after->tick > events[i].tick) stop = remi_least(stop, after->tick);
            else if (after) stop = (int64_t)after->tick + after->length;
            events[i].length = (int32_t)(stop - events[i].tick);
            if (!events[i].length) events[i].length = shortest_note(file);
        }
        *following = i;
    }
}

/* Leaves out notes without length that another one of their key doubles; lengthens the others. */
static void mend_lengthless(MidiFile *file, Event *events, int64_t count, int32_t *sounding) {
    for (int direction = 1; direction >= -1; direction -= 2) {
        fill(sounding, NONE); /* tick of the latest note with a length */
        for (int64_t n = 0; n < count; n++) {
            Event *event = &events[direction > 0 ? n : count - 1 - n];
            if (event->status != NOTE_ON_EVENT || event->length == DROPPED) continue;
            int32_t *tick = &sounding[key_of(event)];
            if (event->length > 0) *tick = event->tick;
            else if (*tick == event->tick) event->length = DROPPED, file->doubled_notes++;
        }
    }
    for (int64_t i = 0; i < count; i++)
        if (events[i].status == NOTE_ON_EVENT && !events[i].length)
            events[i].length = shortest_note(file), file->lengthless_notes++;
}

void midi_pair_notes(MidiFile *file, Event *events, int64_t count, int32_t end, int32_t *links) {
    int32_t first[KEYS], last[KEYS];
    for (int64_t i = 0; i < count; i++) events[i].length = 0;
    mark_endless(events, count, links, first);
    end_notes(file, events, count, links, first, last);
    end_endless(file, events, count, end, first);
    mend_lengthless(file, events, count, first);
}

/* Ends notes by events of other tracks: those that are open in their track by note-offs, all notes of a
 * channel by what stops them. ends: scratch, one for each key of each channel. */
static void end_in_other_tracks(MidiFile *file, Event *events, const SortItem *items, int32_t *ends) {
    int32_t stops[MIDI_CHANNELS];
    for (int32_t i = 0; i < MIDI_CHANNELS; i++) stops[i] = NONE;
    for (int32_t i = 0; i < MIDI_CHANNELS * PITCHES; i++) ends[i] = NONE;
    for (int32_t i = file->event_count - 1; i >= 0; i--) {
        Event *event = &events[items[i].first];
        int32_t *end = &ends[event->channel * PITCHES + event->first], *stop = &stops[event->channel];
        if (ends_all(event)) *stop = event->tick;
        if (event->is_open && event->status == NOTE_OFF_EVENT) *end = event->tick;
        if (event->status != NOTE_ON_EVENT || event->length == DROPPED) continue;
        const bool has_end = event->is_open && *end > event->tick;
        if (has_end) event->length = *end - event->tick, *end = NONE;
        const int32_t most = *stop - event->tick;
        const bool is_stopped = most > 0 && (event->length > most || (event->is_open && !has_end));
        if (is_stopped) event->length = most;
        file->endless_notes -= event->is_open && (has_end || is_stopped);
    }
}

/* Programs ------------------------------------------------------------------------------------- */

typedef struct {
    int32_t tick; /* of the program change; -1: none so far */
    uint8_t channel, program, bank, bank_low;
} Program;

typedef struct {
    int32_t tick; /* -1: none so far */
    uint16_t track;
    uint8_t value;
} Setting;

typedef struct {
    Program program;
    uint8_t next_bank, next_low; /* from the next program change on */
    int8_t drum_switch;          /* -1: not set */
} Channel;

typedef struct {
    Channel channels[MIDI_CHANNELS];
    Program programs[MAX_MIDI_TRACKS + 1][CHANNELS_PER_PORT]; /* chosen by each track */
    Setting settings[MIDI_CHANNELS][PITCHES + 1]; /* of each controller, and BEND */
    int32_t slots[HASH_SIZE]; /* indices of voices */
    int32_t ends[MIDI_CHANNELS * PITCHES];
} State;

static bool is_drum(const Channel *channel, const Program *program, int32_t number) {
    if (channel->drum_switch >= 0) return channel->drum_switch;
    if (program->bank == GM2_DRUMS || program->bank >= XG_EFFECTS) return true;
    return number % CHANNELS_PER_PORT == DRUM_CHANNEL && program->bank != GM2_MELODY;
}

/* Returns the latest program of a channel; of simultaneous ones that of the track. */
static const Program *program_of(MidiFile *file, const State *state, const Event *event) {
    const Program *channel = &state->channels[event->channel].program;
    const Program *own = &state->programs[event->track][event->channel % CHANNELS_PER_PORT];
    if (own->tick < channel->tick || own->tick < 0 || own->channel != event->channel) return channel;
    file->shared_events += own->program != channel->program;
    return own;
}

static int64_t voice_key(const MidiVoice *v) {
    return ((((int64_t)v->track * MIDI_CHANNELS + v->channel) * PITCHES + v->program) << 15)
         | v->bank << 1 | v->is_drum;
}

/* Returns the index of a voice, which is added if it is new; NONE if there are too many. */
static int32_t find_voice(MidiFile *file, State *state, const MidiVoice *voice) {
    const int64_t key = voice_key(voice);
    for (uint32_t at = (uint32_t)((uint64_t)key * 0x9E3779B97F4A7C15u >> 52);; at = (at + 1) % HASH_SIZE) {
        int32_t *slot = &state->slots[at];
        if (*slot == NONE) {
            if (file->voice_count == MAX_MIDI_VOICES) return NONE;
            file->voices[file->voice_count] = *voice;
            return *slot = file->voice_count++;
        }
        if (voice_key(&file->voices[*slot]) == key) return *slot;
    }
}

static bool add_note(MidiFile *file, State *state, const Event *event) {
    if (event->length == DROPPED) return true;
    const Channel *channel = &state->channels[event->channel];
    const Program *program = program_of(file, state, event);
    const MidiVoice voice = {
        .track = event->track, .channel = event->channel, .program = program->program,
        .bank = program->bank << 7 | program->bank_low,
        .is_drum = is_drum(channel, program, event->channel),
    };
    const int32_t found = find_voice(file, state, &voice);
    if (found == NONE) return false;
    file->notes[file->note_count++] =
        (ScoreNote){event->tick, event->length, event->first, event->second, found};
    return true;
}

/* Counts controllers that two tracks set to different values at one time; each keeps its own. */
static void note_setting(MidiFile *file, State *state, const Event *event) {
    const bool is_bend = event->status == PITCH_BEND;
    Setting *last = &state->settings[event->channel][is_bend ? BEND : event->first];
    const uint8_t value = (uint8_t)(event->second | (is_bend && event->first ? 0x80 : 0));
    file->shared_events += last->tick == event->tick && last->track != event->track
                         && last->value != value;
    *last = (Setting){event->tick, event->track, value};
}

/* Whether a reset concerns what was set at a tick: simultaneous settings of other tracks stay. */
static bool concerns(const Event *reset, int32_t tick, bool is_own) {
    return tick >= 0 && (tick < reset->tick || is_own);
}

/* Adds the values of a reset for the controllers that have others. */
static void reset_controls(MidiFile *file, State *state, const Event *reset, int32_t channel) {
    enum { OF_SYSTEM = 6 };
    static const uint8_t values[][2] = {
        {7, 100}, {10, 64}, {101, 0}, {100, 0}, {6, 2}, {38, 0}, /* bend range: 2 semitones */
        {1, 0}, {11, 127}, {SUSTAIN, 0}, {65, 0}, {66, 0}, {67, 0}, {BEND, 64}, {101, 127}, {100, 127},
    };
    for (size_t i = reset->status == SYSTEM_RESET ? 0 : OF_SYSTEM; i < sizeof values / 2; i++) {
        const uint8_t number = values[i][0];
        Setting *last = &state->settings[channel][number];
        if (!concerns(reset, last->tick, last->track == reset->track)) continue;
        if (last->value == values[i][1] && (i >= OF_SYSTEM || i < 2)) continue; /* not of a pair */
        if (i >= OF_SYSTEM || number < 100) last->tick = NONE;
        file->controls[file->control_count++] =
            (MidiControl){reset->tick, channel, number == BEND ? PITCH_BEND : CONTROL_CHANGE,
                          number == BEND ? 0 : number, values[i][1], reset->track};
    }
}

static void reset_system(MidiFile *file, State *state, const Event *reset) {
    for (int32_t number = 0; number < CHANNELS_PER_PORT; number++) {
        const int32_t at = reset->channel + number;
        Channel *channel = &state->channels[at];
        Program *own = &state->programs[reset->track][number];
        const bool is_own = own->tick == channel->program.tick && own->channel == at;
        if (concerns(reset, channel->program.tick, is_own))
            *own = channel->program = (Program){reset->tick, (uint8_t)at, 0, 0, 0};
        channel->next_bank = channel->next_low = 0;
        channel->drum_switch = -1;
        reset_controls(file, state, reset, at);
    }
}

/* Follows one event of a channel; returns whether the voices suffice. */
static bool follow(MidiFile *file, State *state, const Event *event) {
    Channel *channel = &state->channels[event->channel];
    switch (event->status) {
    case NOTE_ON_EVENT:
        return add_note(file, state, event);
    case PROGRAM_CHANGE:
        channel->program =
            (Program){event->tick, event->channel, event->first, channel->next_bank,
                      channel->next_low};
        state->programs[event->track][event->channel % CHANNELS_PER_PORT] = channel->program;
        return true;
    case SYSTEM_RESET:
        reset_system(file, state, event);
        return true;
    case DRUM_SWITCH:
        channel->drum_switch = (int8_t)event->first;
        return true;
    case CONTROL_CHANGE:
        if (event->first == BANK) channel->next_bank = event->second;
        if (event->first == BANK_LOW) channel->next_low = event->second;
        if (event->first == BANK || event->first == BANK_LOW) return true;
        break;
    case NOTE_OFF_EVENT:
        return true;
    default:
        break;
    }
    if (event->status == CONTROL_CHANGE && event->first == RESET_CONTROLLERS) {
        const int32_t before = file->control_count;
        reset_controls(file, state, event, event->channel);
        if (file->control_count > before) return true; /* else it is kept itself */
    }
    note_setting(file, state, event);
    file->controls[file->control_count++] =
        (MidiControl){event->tick, event->channel, event->status, event->first, event->second,
                      event->track};
    return true;
}

/* Orders the voices by track, channel and program. */
static void sort_voices(MidiFile *file, SortItem *items, SortItem *scratch, MidiVoice *copies) {
    int32_t moved[MAX_MIDI_VOICES];
    for (int32_t i = 0; i < file->voice_count; i++) {
        items[i] = (SortItem){voice_key(&file->voices[i]), i, 0};
        copies[i] = file->voices[i];
    }
    remi_sort(items, scratch, file->voice_count);
    for (int32_t i = 0; i < file->voice_count; i++) {
        file->voices[i] = copies[items[i].first];
        moved[items[i].first] = i;
    }
    for (int32_t i = 0; i < file->note_count; i++) file->notes[i].track = moved[file->notes[i].track];
}

/* Files ---------------------------------------------------------------------------------------- */

int32_t midi_count(const uint8_t *data, int64_t size, MidiFile *file) {
    *file = (MidiFile){0};
    if (size < 0 || size > INT32_MAX) return CORE_BAD_LENGTH;
    return midi_read_chunks(data, size, file, NULL, NULL);
}

static int64_t most_items(const MidiFile *file) {
    return remi_most(file->event_count, MAX_MIDI_VOICES);
}

int64_t midi_scratch_bytes(const MidiFile *file) {
    if (!within(file->event_count, 0, INT32_MAX)) return CORE_BAD_LENGTH;
    const int64_t each = sizeof(Event) + 2 * sizeof(SortItem) + sizeof(int32_t);
    const int64_t fixed = sizeof(State) + MAX_MIDI_VOICES * sizeof(MidiVoice) + 128;
    return each * most_items(file) + fixed;
}

static bool counts_differ(const MidiFile *a, const MidiFile *b) {
    return a->event_count != b->event_count || a->note_count != b->note_count
        || a->control_count != b->control_count || a->tempo_count != b->tempo_count
        || a->meter_count != b->meter_count || a->key_count != b->key_count
        || a->text_count != b->text_count;
}

int32_t midi_read(const uint8_t *data, int64_t size, MidiFile *file, char *scratch) {
    MidiFile counted;
    int32_t error = midi_count(data, size, &counted);
    if (error) return error;
    if (counts_differ(file, &counted)) return CORE_BAD_LENGTH;
    const int64_t most = most_items(file);
    Event *events = remi_take(&scratch, most * (int64_t)sizeof *events);
    SortItem *items = remi_take(&scratch, most * (int64_t)sizeof *items);
    SortItem *others = remi_take(&scratch, most * (int64_t)sizeof *others);
    int32_t *links = remi_take(&scratch, most * (int64_t)sizeof *links);
    State *state = remi_take(&scratch, sizeof *state);
    MidiVoice *copies = remi_take(&scratch, MAX_MIDI_VOICES * (int64_t)sizeof *copies);

    counted = (MidiFile){.notes = file->notes, .controls = file->controls, .tempos = file->tempos,
                         .meters = file->meters, .keys = file->keys, .texts = file->texts,
                         .voices = file->voices};
    *file = counted;
    if ((error = midi_read_chunks(data, size, file, events, links))) return error;
    file->note_count = file->control_count = 0;
    for (int32_t i = 0; i < file->event_count; i++) items[i] = (SortItem){events[i].tick, i, 0};
    remi_sort(items, others, file->event_count); /* tracks with one tick in their order */
    for (int32_t i = 0; i < HASH_SIZE; i++) state->slots[i] = NONE;
    for (int32_t i = 0; i < MIDI_CHANNELS; i++)
        state->channels[i] = (Channel){.program = {.tick = -1}, .drum_switch = -1};
    for (int32_t i = 0; i < (MAX_MIDI_TRACKS + 1) * CHANNELS_PER_PORT; i++)
        state->programs[i / CHANNELS_PER_PORT][i % CHANNELS_PER_PORT].tick = -1;
    for (int32_t i = 0; i < MIDI_CHANNELS * (PITCHES + 1); i++)
        state->settings[i / (PITCHES + 1)][i % (PITCHES + 1)].tick = -1;
    end_in_other_tracks(file, events, items, state->ends);
    for (int32_t i = 0; i < file->event_count; i++)
        if (!follow(file, state, &events[items[i].first])) return CORE_TOO_MANY_VOICES;
    sort_voices(file, items, others, copies);
    return CORE_OK;
}
