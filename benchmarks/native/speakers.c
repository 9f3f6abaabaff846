/* WebSocket clients in one process that post messages at a given rate and check what they are shown.
 *
 *     speakers HOST PORT PATH FIRST_MESSAGES ANSWER
 *
 * FIRST_MESSAGES and ANSWER as in sink.c. Prints a line of JSON when all are ready, and one for each command on
 * standard input:
 *
 *     begin                           count what is shown from here on
 *     heard                           what was counted since then
 *     run RATE SECONDS SIZE CHANNELS  post RATE messages a second of SIZE characters, then what was counted. CHANNELS: a
 *                                     file with a line for each client, the channels that it posts to in turn, parted
 *                                     by tabs; nothing, and it only listens
 *
 * Messages are posted in ticks of a millisecond at least, by the clients in turn: above a thousand a second several at
 * once. A text begins with when it was posted. An event that does not follow its channel's last one is a hole.
 * Ends when standard input does.
 */
#define _GNU_SOURCE
#define PROGRAM "speakers"
#include "client.h"
#include <poll.h>
#include <sys/random.h>
#include <sys/timerfd.h>

#define EVENT "{\"type\":\"event\",\"channel\":\"ch_"
#define ACK "{\"type\":\"ack\","
#define REFUSED "{\"type\":\"refused\","

enum { HEX = 32, ID = 36, CODES = 16, CODE = 40, AT_A_TICK = 500, TICK_NS = 1000000, ANSWERS_S = 20 };

/* Where a client has a channel. */
struct head {
    char channel[HEX];
    uint64_t seq; /* 0: the place is free */
};

struct speaker {
    struct head *heads;
    size_t room, used; /* of `heads`, a power of two */
    char *line, **channels; /* the names stand in `line` */
    int spoken, next;
};

static struct speaker *speakers;

static struct {
    uint64_t *sent_ns; /* when each message was posted; 0 once it is answered */
    uint64_t begun, ended, late, sent, answered, delivered, holes, total;
    double rate, seconds;
    unsigned nonce; /* 14 bits that tell this run's ids from those of others */
    int size, next, running;
    struct { char name[CODE]; uint64_t count; } refused[CODES];
    struct latencies acks, deliveries;
} run;

static int ticks;

static int wants(struct client *client) { return client != NULL; }

/* What is shown ------------------------------------------------------------------------------------------------------- */

static void misunderstood(struct client *client) {
    fprintf(stderr, "speakers: not understood: %.*s\n", client->keeping < 200 ? client->keeping : 200, client->kept);
    exit(1);
}

/* What follows `name` in the frame, within its kept part. */
static const char *field(struct client *client, const char *name) {
    const char *at = memmem(client->kept, (size_t)client->keeping, name, strlen(name));
    if (!at) misunderstood(client);
    return at + strlen(name);
}

static struct head *place_of(struct speaker *speaker, const char *channel) {
    uint64_t hash;
    memcpy(&hash, channel + HEX - sizeof hash, sizeof hash); /* the random end of a UUIDv7 */
    hash *= 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(hash >> 32) & (speaker->room - 1);
    while (speaker->heads[at].seq && memcmp(speaker->heads[at].channel, channel, HEX)) at = (at + 1) & (speaker->room - 1);
    return &speaker->heads[at];
}

static struct head *head_of(struct speaker *speaker, const char *channel) {
    if (2 * speaker->used >= speaker->room) {
        struct speaker grown = *speaker;
        grown.room = speaker->room ? 2 * speaker->room : 16;
        grown.heads = calloc(grown.room, sizeof *grown.heads);
        if (!grown.heads) fail("calloc");
        for (size_t i = 0; i < speaker->room; i++)
            if (speaker->heads[i].seq) *place_of(&grown, speaker->heads[i].channel) = speaker->heads[i];
        free(speaker->heads);
        *speaker = grown;
    }
    struct head *head = place_of(speaker, channel);
    if (!head->seq) {
        memcpy(head->channel, channel, HEX);
        speaker->used++;
    }
    return head;
}

static void shown(struct client *client, uint64_t now) {
    const char *channel = client->kept + strlen(EVENT);
    uint64_t seq = strtoull(field(client, ",\"seq\":"), NULL, 10), sent = marked(client);
    if (!seq) misunderstood(client);
    struct head *head = head_of(&speakers[client - clients], channel);
    if (head->seq && seq != head->seq + 1) run.holes++;
    head->seq = seq;
    run.delivered++;
    if (sent && now >= sent) count(&run.deliveries, (now - sent) / 1000);
}

/* When the answered message was posted: the end of its id says which of this run's it is; 0 when it is none that waits. */
static uint64_t answered(struct client *client) {
    const char *id = field(client, "\"id\":\"");
    unsigned long at = strtoul(id + ID - 12, NULL, 16), nonce = strtoul(id + ID - 17, NULL, 16);
    if (nonce != (0x8000u | run.nonce) || at >= run.sent || !run.sent_ns[at]) return 0;
    uint64_t posted = run.sent_ns[at];
    run.sent_ns[at] = 0;
    run.answered++;
    return posted;
}

static void refused(struct client *client) {
    if (!answered(client)) return;
    const char *code = field(client, "\"code\":\"");
    size_t size = strcspn(code, "\"");
    for (int i = 0; i < CODES; i++) {
        if (!run.refused[i].count) snprintf(run.refused[i].name, CODE, "%.*s", (int)size, code);
        if (strncmp(run.refused[i].name, code, size) || run.refused[i].name[size]) continue;
        run.refused[i].count++;
        return;
    }
    misunderstood(client); /* a longer code, or more of them, than there is room for */
}

static void came(struct client *client) {
    uint64_t now = now_ns(), posted;
    if (client->keeping < (int)strlen(EVENT) + HEX) return;
    client->kept[client->keeping < KEPT ? client->keeping : KEPT - 1] = 0; /* numbers and codes are read up to an end */
    if (!strncmp(client->kept, EVENT, strlen(EVENT))) shown(client, now);
    else if (!strncmp(client->kept, REFUSED, strlen(REFUSED))) refused(client);
    else if (!strncmp(client->kept, ACK, strlen(ACK)) && (posted = answered(client))) count(&run.acks, (now - posted) / 1000);
}

/* Posting ------------------------------------------------------------------------------------------------------------- */

static void post(struct client *client, const char *channel) {
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    unsigned long long ms = (unsigned long long)wall.tv_sec * 1000u + (unsigned long long)wall.tv_nsec / 1000000u;
    static char text[KEPT];
    uint64_t now = now_ns();
    int size = snprintf(text, sizeof text,
                        "{\"type\":\"send\",\"channel\":\"%s\",\"id\":\"%08llx-%04llx-7000-%04x-%012llx\",\"text\":\"ns=%020llu", channel,
                        ms >> 16, ms & 0xffff, 0x8000u | run.nonce, (unsigned long long)run.sent, (unsigned long long)now);
    int filling = run.size - 23;
    memset(text + size, 'x', (size_t)filling);
    memcpy(text + size + filling, "\"}", 2);
    run.sent_ns[run.sent++] = now;
    size_t length = frame(0, TEXT, text, (size_t)(size + filling + 2)), gone = 0;
    while (gone < length) {
        ssize_t sent = send(client->fd, buffer + gone, length - gone, MSG_NOSIGNAL);
        if (sent > 0) gone += (size_t)sent;
        else if (sent < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = client->fd, .events = POLLOUT};
            if (!poll(&room, 1, ANSWERS_S * 1000)) fail("nobody reads what is posted");
        } else if (sent < 0 && errno != EINTR) fail("send");
    }
}

static void tick_at(uint64_t ns) {
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)}};
    if (timerfd_settime(ticks, TFD_TIMER_ABSTIME, &when, NULL)) fail("timerfd_settime");
}

static void print_run(void) {
    printf("{\"sent\":%llu,\"seconds\":%.6f,\"late\":%.6f,\"unanswered\":%llu,\"refused\":{", (unsigned long long)run.sent,
           (double)(run.ended - run.begun) / 1e9, (double)run.late / 1e9, (unsigned long long)(run.sent - run.answered));
    for (int i = 0; i < CODES && run.refused[i].count; i++)
        printf("%s\"%s\":%llu", i ? "," : "", run.refused[i].name, (unsigned long long)run.refused[i].count);
    printf("},\"holes\":%llu,\"delivered\":%llu,\"acks\":", (unsigned long long)run.holes, (unsigned long long)run.delivered);
    print_latencies(&run.acks);
    printf(",\"deliveries\":");
    print_latencies(&run.deliveries);
    printf("}\n");
    fflush(stdout);
}

static void post_what_is_due(uint64_t now) {
    double elapsed = (double)(now - run.begun) / 1e9;
    uint64_t due = (uint64_t)(elapsed * run.rate) + 1;
    uint64_t plan = run.begun + (uint64_t)((double)run.sent / run.rate * 1e9);
    if (now > plan && now - plan > run.late) run.late = now - plan;
    if (due > run.total) due = run.total;
    for (int posted = 0; run.sent < due && posted < AT_A_TICK; run.next++) {
        struct speaker *speaker = &speakers[run.next % total];
        if (!speaker->spoken) continue;
        post(&clients[run.next % total], speaker->channels[speaker->next++ % speaker->spoken]);
        posted++;
    }
}

/* The end of a run is waited for in ticks as well: an answer may never come. */
static void tick(void) {
    uint64_t now = now_ns(), late = run.begun + (uint64_t)((2 * run.seconds + 5) * 1e9);
    if (!run.ended) {
        post_what_is_due(now);
        /* A message's share of the time is over when the next one would be due. Past twice the time this process cannot go
         * so fast, or is not let: the rate that it came to says so. */
        uint64_t next = run.begun + (uint64_t)((double)run.sent / run.rate * 1e9);
        if ((run.sent == run.total && now >= next) || now > late) run.ended = now_ns();
        tick_at(next > now + TICK_NS ? next : now + TICK_NS);
    } else if (run.answered < run.sent && now < run.ended + ANSWERS_S * 1000000000ull) tick_at(now + 5 * TICK_NS);
    else {
        run.running = 0;
        print_run();
    }
}

/* Commands ------------------------------------------------------------------------------------------------------------ */

static void new_account(void) {
    free(run.sent_ns);
    unsigned nonce = 0;
    if (getrandom(&nonce, 2, 0) != 2) fail("getrandom");
    memset(&run, 0, sizeof run);
    run.nonce = nonce & 0x3fff;
}

static void speak(int number, char *line) {
    if (number >= total) fail("more channels than clients");
    struct speaker *speaker = &speakers[number];
    speaker->spoken = speaker->next = 0;
    free(speaker->line);
    free(speaker->channels);
    speaker->line = line;
    speaker->channels = calloc(strlen(line) / 2 + 1, sizeof *speaker->channels);
    if (!speaker->channels) fail("calloc");
    for (char *name = strtok(line, "\t"); name; name = strtok(NULL, "\t")) speaker->channels[speaker->spoken++] = name;
}

static void start(double rate, double seconds, int size, const char *channels) {
    int speaking = 0;
    for (int i = 0; i < total; i++) speakers[i].spoken = 0;
    lines_of(channels, speak);
    for (int i = 0; i < total; i++) speaking += speakers[i].spoken > 0;
    if (!speaking || size < 23 || size > KEPT - 300) {
        fprintf(stderr, "speakers: nobody speaks, or not so much\n");
        exit(1);
    }
    new_account();
    run.rate = rate;
    run.seconds = seconds;
    run.size = size;
    run.total = (uint64_t)(rate * seconds + 0.5);
    if (!run.total) run.total = 1;
    run.sent_ns = calloc(run.total, sizeof *run.sent_ns);
    if (!run.sent_ns) fail("calloc");
    run.running = 1;
    run.begun = now_ns();
    tick_at(run.begun);
}

static void other(void *what) {
    static char line[1024];
    if (what == &ticks) {
        uint64_t passed;
        if (read(ticks, &passed, sizeof passed) == sizeof passed && run.running) tick();
        return;
    }
    ssize_t size = read(0, line, sizeof line - 1);
    if (size <= 0) exit(0);
    line[size] = 0;
    double rate, seconds;
    int characters;
    char channels[512];
    if (sscanf(line, "run %lf %lf %d %511s", &rate, &seconds, &characters, channels) == 4) start(rate, seconds, characters, channels);
    else if (!strcmp(line, "begin\n")) {
        new_account();
        print_run();
    } else if (!strcmp(line, "heard\n")) print_run();
    else {
        printf("{\"error\":\"not understood\"}\n");
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: speakers HOST PORT PATH FIRST_MESSAGES ANSWER\n");
        return 2;
    }
    set_up(argv + 1);
    answer = argv[5];
    speakers = calloc((size_t)total + 1, sizeof *speakers);
    ticks = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (!speakers || ticks < 0) fail("timerfd_create");
    watch(0, speakers);
    watch(ticks, &ticks);
    while (ready < total) turn(other);
    printf("{\"ready\":%d}\n", ready);
    fflush(stdout);
    for (;;) turn(other);
}
