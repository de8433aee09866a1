import { Payload } from '../lib/payload';

// Says which edition this is and when it was rendered, so that one can see which render one got.
export function Rendered({ edition, at }) {
  return (
    <p>
      edition <b id="edition">{edition}</b>, rendered at <time id="rendered">{at}</time>,
      payload <Payload edition={edition} />
    </p>
  );
}
