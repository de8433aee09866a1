import { signed } from '../../lib/guestbook';
import { signGuestbook } from './actions';

export const dynamic = 'force-dynamic';

// A page with a server action: the form posts to the page's own URL.
export default function Guestbook() {
  return (
    <main>
      <h1>Guestbook</h1>
      <ul id="names">
        {signed().map((name, n) => <li key={n}>{name}</li>)}
      </ul>
      <form action={signGuestbook}>
        <input name="name" />
        <button id="sign">Sign</button>
      </form>
    </main>
  );
}
