// The least that a Worker can do with a WebSocket, to compare with: what comes goes back as it is; at …/take bytes are
// only counted, and each half megabyte is told in a text, as files are granted credit.

const TOLD_EVERY = 512 * 1024;

export default {
  async fetch(request) {
    if (request.headers.get("upgrade") !== "websocket") {
      return new Response("this is for WebSockets\n", { status: 426 });
    }
    const { 0: client, 1: server } = new WebSocketPair();
    server.binaryType = "arraybuffer";
    server.accept();
    const takes = new URL(request.url).pathname.endsWith("/take");
    let taken = 0;
    server.addEventListener("message", ({ data }) => {
      if (!takes) {
        server.send(data);
        return;
      }
      taken += data.byteLength;
      if (taken % TOLD_EVERY === 0) {
        server.send(String(taken));
      }
    });
    return new Response(null, { status: 101, webSocket: client });
  },
};
