package peers;

import com.google.gson.Gson;
import com.google.gson.JsonSyntaxException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** The course of a driver: the order, the load, the end. */
final class Run {
    /**
     * How long calls are waited for after the order to stop, in milliseconds: those that have not ended then are counted as
     * never returned. Ten seconds more than the longest limit that any client sets a call by default (Lettuce: 60 s).
     */
    private static final long CALLS_END_WITHIN = 70_000;

    private final Witness witness = new Witness();
    private final BufferedReader lines =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    private final List<Thread> callers = new ArrayList<>();

    private Run() {}

    static void main(Client.Connector connector) {
        var run = new Run();
        try {
            run.drive(connector);
        } catch (Exception error) {
            error.printStackTrace();
            run.witness.tell("trouble", error.toString());
        }
        try {
            run.witness.finish();
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
        // Threads of the client may be waiting for what never comes.
        Runtime.getRuntime().halt(0);
    }

    private void drive(Client.Connector connector) throws Exception {
        String line = lines.readLine();
        if (line == null) {
            throw new IOException("no order came");
        }
        var order = new Gson().fromJson(line, Order.class);
        var tally = new Tally();
        var all = new ArrayList<Loads>();
        var reader = new Reader(witness);
        for (int number = 0; number < order.clients; number++) {
            var outlet = number == 0 ? witness : witness.forAnother();
            var client = connector.connect(order, Target.parse(order.url), outlet);
            var loads = new Loads(client, order, outlet, tally);
            for (String load : order.loads) {
                start(load, order, client, loads, reader);
            }
            all.add(loads);
        }
        thread(all.get(0)::tellTotals);
        witness.tell("ready");
        if (order.consume) {
            reader.begin();
        }
        obey(all.get(0), reader);
        all.forEach(loads -> loads.isStopped = true);
        long end = System.nanoTime() + CALLS_END_WITHIN * 1_000_000;
        for (Thread caller : callers) {
            caller.join(Math.max(1, (end - System.nanoTime()) / 1_000_000));
        }
        if (callers.stream().anyMatch(Thread::isAlive)) {
            tally.giveUp();
        }
        witness.tell("calls", tally.read());
    }

    /** Follows the controls until it is told to stop. */
    private void obey(Loads loads, Reader reader) throws IOException {
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String control;
            try {
                control = new Gson().fromJson(line, String.class);
            } catch (JsonSyntaxException other) {
                // A newer lab may know more.
                System.err.println("not a control: " + line);
                continue;
            }
            switch (control) {
                case "probe" -> thread(loads::probe);
                case "consume" -> reader.begin();
                case "stop" -> {
                    return;
                }
                default -> System.err.println("not a control: " + line);
            }
        }
    }

    private void start(String load, Order order, Client client, Loads loads, Reader reader) throws Exception {
        switch (load) {
            case "idle" -> {}
            case "callers" -> {
                for (int caller = 0; caller < order.callers; caller++) {
                    callers.add(thread(loads::call));
                }
            }
            case "spread" -> {
                for (int caller = 0; caller < order.callers; caller++) {
                    callers.add(thread(loads::spread));
                }
            }
            case "droppers" -> {
                if (client.echoLater("?") == null) {
                    throw new UnsupportedOperationException("not supported: a call of this client cannot be cancelled");
                }
                for (int caller = 0; caller < order.callers; caller++) {
                    int number = caller;
                    callers.add(thread(() -> loads.dropCalls(number)));
                }
            }
            case "torrent" -> callers.add(thread(loads::torrent));
            case "fetch" -> callers.add(thread(loads::fetch));
            case "blocked" -> thread(loads::consume);
            case "subscribed" -> client.subscribe(reader);
            default -> throw new UnsupportedOperationException("not supported: the load " + load);
        }
    }

    private static Thread thread(Runnable work) {
        var thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }
}
