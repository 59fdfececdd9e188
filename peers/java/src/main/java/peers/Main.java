package peers;

/** The drivers for the clients in Java: {@code Main CLIENT}, then the order on standard input. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) {
        Client.Connector connector = switch (arguments.length == 1 ? arguments[0] : "") {
            case "lettuce" -> LettuceDriver::connect;
            case "jedis" -> JedisDriver::connect;
            default -> null;
        };
        if (connector == null) {
            System.err.println("usage: Main lettuce|jedis");
            System.exit(2);
        }
        Run.main(connector);
    }
}
