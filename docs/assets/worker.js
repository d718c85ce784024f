// A page that was opened from a folder may start no worker, and the search runs in one. There, and only there, this
// runs it in a frame of its own that nobody sees.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      const queue = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inside = this.frame.contentWindow;
      // like a worker's: a copy, and later, so that an answer comes when the question has been asked
      const later = (data, to) => {
        const event = new MessageEvent("message", { data: structuredClone(data) });
        setTimeout(() => to(event), 0);
      };
      const give = (data) => later(data, (event) => inside.dispatchEvent(event));
      this.postMessage = (data) => queue.push(data);
      inside.document.open();
      inside.document.write("<html><body></body></html>");
      inside.document.close();
      // what a worker posts goes to whoever made it
      inside.postMessage = (data) => later(data, (event) => this.onmessage && this.onmessage(event));
      inside.importScripts = (...scripts) =>
        scripts.reduce((before, script) => before.then(() => this.load(script)), Promise.resolve());
      this.load(url).then(
        () => {
          this.postMessage = give;
          queue.forEach(give);
        },
        (error) => this.onerror && this.onerror(error),
      );
    }

    load(url) {
      return new Promise((done, failed) => {
        const inside = this.frame.contentDocument;
        const script = inside.createElement("script");
        script.src = url;
        script.onload = done;
        script.onerror = failed;
        inside.body.appendChild(script);
      });
    }

    terminate() {
      this.frame.remove();
    }
  };
}
