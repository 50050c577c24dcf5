import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;

/** Reads texts as java.util.Properties does: each a hexadecimal line, "" at the end; answers JSON. */
class Properties {
    public static void main(String[] args) throws IOException {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var list = new StringJoiner(",", "[", "]");
        for (String line; (line = in.readLine()) != null; ) {
            try {
                var read = new java.util.Properties();
                read.load(new StringReader(new String(HexFormat.of().parseHex(line), StandardCharsets.UTF_8)));
                var values = new StringJoiner(",", "{", "}");
                for (var name : read.stringPropertyNames()) values.add(json(name) + ":" + json(read.getProperty(name)));
                list.add(values.toString());
            } catch (IllegalArgumentException refused) {
                list.add("null");
            }
        }
        new PrintStream(System.out, true, StandardCharsets.UTF_8).println(list);
    }

    private static String json(String text) {
        var b = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c < ' ' || c == '"' || c == '\\') b.append(String.format("\\u%04x", (int) c));
            else b.append(c);
        }
        return b.append('"').toString();
    }
}
