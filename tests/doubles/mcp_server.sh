# A small MCP server on standard input and output: the tools `shout` and `whisper`, which answer
# with what they were given. In bash, because a run's own user need not be able to reach the
# Python that runs the tests; it is handed over as text, so nor need it reach this file.
while IFS= read -r line; do
  id=$(printf '%s' "$line" | grep -o '"id":[0-9]*' | head -n 1 | cut -d: -f2)
  case "$line" in
    *'"method":"initialize"'*)
      printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"double","version":"1"}}}\n' "$id" ;;
    *'"method":"tools/list"'*)
      printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"shout","description":"Shout","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}},{"name":"whisper","description":"Whisper","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}]}}\n' "$id" ;;
    *'"method":"tools/call"'*)
      text=$(printf '%s' "$line" | grep -o '"text":"[^"]*"' | head -n 1 | cut -d'"' -f4)
      printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"server heard %s with %s"}]}}\n' "$id" "$text" "$MCP_GREETING" ;;
    *'"id":'*)
      printf '{"jsonrpc":"2.0","id":%s,"result":{}}\n' "$id" ;;
  esac
done
