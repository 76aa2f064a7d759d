import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;

/** Threads that fill a heap with blocks which soon die, and check those that live; then a child process. */
public class Churn {
	static final int ROUNDS = 40_000, LIVE = 2_000, LARGEST = 4_000;

	static long work(int seed) {
		Map<Integer, byte[]> live = new HashMap<>();
		Random random = new Random(seed);
		long sum = 0;
		for (int round = 0; round < ROUNDS; round++) {
			byte[] block = new byte[random.nextInt(LARGEST)];
			Arrays.fill(block, (byte) round);
			live.put(random.nextInt(LIVE), block);
			sum += check(live.get(random.nextInt(LIVE)));
		}
		return sum;
	}

	static long check(byte[] block) {
		if (block == null)
			return 0;
		for (byte each : block)
			if (each != block[0])
				throw new IllegalStateException("a block has changed");
		return block.length;
	}

	public static void main(String[] arguments) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(4);
		var results = IntStream.range(0, 6).mapToObj(seed -> pool.submit(() -> work(seed))).toList();
		for (var result : results)
			System.out.println(result.get());
		pool.shutdown();
		Process child = new ProcessBuilder("/bin/echo", "a child").inheritIO().start();
		System.out.println(child.waitFor());
	}
}
