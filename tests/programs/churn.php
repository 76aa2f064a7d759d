<?php
// Strings and arrays that grow, blocks larger than a chunk of the allocator, a child process.
$text = '';
for ($i = 0; $i < 200000; $i++) {
    $text .= md5((string)$i);
}
echo strlen($text), ' ', crc32($text), "\n";
$all = [];
for ($i = 0; $i < 1000000; $i++) {
    $all[] = $i * 2;
}
echo count($all), ' ', array_sum($all), "\n";
for ($i = 0; $i < 100; $i++) {
    $block = str_repeat(chr(65 + $i % 26), 3000000 + 4096 * $i);
    $block .= $block;
}
echo strlen($block), ' ', crc32($block), "\n";
echo shell_exec('echo a child');
