/* Many WebSocket clients in one process that do as little as can be done: open, say one thing, count what comes.
 *
 *     sink HOST PORT PATH FIRST_MESSAGES PROBE_EVERY ANSWER
 *
 * FIRST_MESSAGES: a file, see `set_up`. A connection that sent something is ready when a frame came that holds ANSWER;
 * any does when that is empty. Every PROBE_EVERY-th connection also reads its frames: where one holds "ns=" and 20
 * digits, that is when (CLOCK_MONOTONIC, nanoseconds) it was sent.
 *
 * Prints a line of JSON when all are ready, and one for each line on standard input: "read" gives the counts since the
 * last "reset", "reset" the same and begins anew. Ends when standard input does.
 */
#define _GNU_SOURCE
#define PROGRAM "sink"
#include "client.h"

static int probe_every;
static uint64_t frames;
static struct latencies seen;

static int wants(struct client *client) { return probe_every && (client - clients) % probe_every == 0; }

static void came(struct client *client) {
    frames++;
    uint64_t sent = wants(client) ? marked(client) : 0, now = now_ns();
    if (sent && now >= sent) count(&seen, (now - sent) / 1000);
}

static void print_counts(void) {
    printf("{\"ready\":%d,\"closed\":%d,\"frames\":%llu,\"bytes\":%llu,\"reads\":%llu,\"max_us\":%llu,\"latency\":", ready, closed,
           (unsigned long long)frames, (unsigned long long)bytes, (unsigned long long)reads, (unsigned long long)seen.slowest);
    print_latencies(&seen);
    printf("}\n");
    fflush(stdout);
}

static void command(void *input) {
    char line[64];
    ssize_t size = read(*(int *)input, line, sizeof line - 1);
    if (size <= 0) exit(0);
    line[size] = 0;
    print_counts();
    if (strstr(line, "reset")) {
        frames = bytes = reads = 0;
        memset(&seen, 0, sizeof seen);
    }
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: sink HOST PORT PATH FIRST_MESSAGES PROBE_EVERY ANSWER\n");
        return 2;
    }
    int input = 0;
    set_up(argv + 1);
    probe_every = atoi(argv[5]);
    answer = argv[6];
    watch(input, &input);
    while (ready < total) turn(command);
    print_counts();
    for (;;) turn(command);
}
