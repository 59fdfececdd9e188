package peers;

import java.util.concurrent.CountDownLatch;

/** The application's end of a subscription. */
final class Reader {
    final Witness witness;
    private final CountDownLatch begins = new CountDownLatch(1);

    Reader(Witness witness) {
        this.witness = witness;
    }

    void begin() {
        begins.countDown();
    }

    /** A message was received. Holds the thread that brings it until the application wants to read. */
    void message(String payload) {
        try {
            begins.await();
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
            return;
        }
        witness.back("subscriptions");
        // What comes after the number is ballast.
        int space = payload.indexOf(' ');
        try {
            witness.tell("message", Long.parseLong(space < 0 ? payload : payload.substring(0, space)));
        } catch (NumberFormatException other) {
            witness.tell("trouble", "not a message: " + payload.substring(0, Math.min(40, payload.length())));
        }
    }
}
