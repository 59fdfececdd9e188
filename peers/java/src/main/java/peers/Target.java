package peers;

import java.util.ArrayList;
import java.util.List;

/**
 * Where an order's URL leads: {@code redis://h:p}, {@code redis-sentinel://h1:p,h2:p/name} or
 * {@code redis-cluster://h1:p,h2:p}, each perhaps with {@code user:password@} before the hosts.
 */
record Target(Kind kind, List<Address> hosts, String primary, String user, String password) {
    enum Kind {
        STANDALONE,
        SENTINEL,
        CLUSTER
    }

    record Address(String host, int port) {}

    static Target parse(String url) {
        int colon = url.indexOf("://");
        String scheme = colon < 0 ? "" : url.substring(0, colon);
        Kind kind = switch (scheme) {
            case "redis" -> Kind.STANDALONE;
            case "redis-sentinel" -> Kind.SENTINEL;
            case "redis-cluster" -> Kind.CLUSTER;
            default -> throw new IllegalArgumentException("the URL is not understood: " + scheme + "://…");
        };
        String rest = url.substring(colon + 3);
        String user = "";
        String password = null;
        int at = rest.lastIndexOf('@');
        if (at >= 0) {
            String[] who = rest.substring(0, at).split(":", 2);
            user = who.length == 2 ? who[0] : "";
            password = who[who.length - 1];
            rest = rest.substring(at + 1);
        }
        String[] parts = rest.split("/", 2);
        var hosts = new ArrayList<Address>();
        for (String each : parts[0].split(",")) {
            int port = each.lastIndexOf(':');
            hosts.add(new Address(each.substring(0, port), Integer.parseInt(each.substring(port + 1))));
        }
        return new Target(kind, hosts, parts.length == 2 ? parts[1] : "", user, password);
    }
}
